/* Powers: n values to one constant exponent, or two tensors with broadcasting, forward and backward.
 *
 * The output may be the memory of an input that has its shape, except where gradients are added up.
 */
#ifndef TINYODL_POWER_F32_H
#define TINYODL_POWER_F32_H

#include <stdint.h>

#include "broadcast.h"
#include "math_f32.h"

/// y = x^exponent with exponent = halves / 2 + rest ///

static inline void power_all_f32(int32_t n, int32_t halves, float rest, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = power_f32(x[i], halves, rest);
    }
}

/* gx = gy * exponent * x^(exponent - 1), where halves and rest stand for exponent - 1 */
static inline void power_gradient_f32(int32_t n, float exponent, int32_t halves, float rest,
                                      const float *gy, const float *x, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = gy[i] * exponent * power_f32(x[i], halves, rest);
    }
}

/// y = a^b with broadcasting ///

/* The exponent is taken apart here; beyond 2^22 it counts as 2^22. */
static inline float power_of_f32(float x, float exponent)
{
    const float raised = exponent > -4194304.0f ? exponent : -4194304.0f;
    const float size = raised < 4194304.0f ? raised : 4194304.0f;
    const int32_t halves = (int32_t)(size + size);
    return power_f32(x, halves, size - 0.5f * (float)halves);
}

static inline void power_broadcast_f32(const broadcast_shape *s, const float *a, const float *b,
                                       float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            y[i] = power_of_f32(a[row.a + i * row_step_a(s)], b[row.b + i * row_step_b(s)]);
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/* ga = gy * b * a^(b - 1), added up over the elements of y that read the same one of `count` */
static inline void power_base_gradient_f32(const broadcast_shape *s, int32_t count,
                                           const float *restrict gy, const float *a, const float *b,
                                           float *restrict ga)
{
    broadcast_row row = {{0}, 0, 0};
    for (int32_t i = 0; i < count; i++) {
        ga[i] = 0.0f;
    }
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            const int32_t at = row.a + i * row_step_a(s);
            const float exponent = b[row.b + i * row_step_b(s)];
            if (exponent != 0.0f) {
                ga[at] += gy[i] * exponent * power_of_f32(a[at], exponent - 1.0f);
            }
        }
        gy += row_size(s);
    } while (broadcast_next(s, &row));
}

/* gb = gy * y * log a, and 0 where y is 0; added up likewise. Here b is the first operand of s. */
static inline void power_exponent_gradient_f32(const broadcast_shape *s, int32_t count,
                                               const float *restrict gy, const float *restrict y,
                                               const float *restrict a, float *restrict gb)
{
    broadcast_row row = {{0}, 0, 0};
    for (int32_t i = 0; i < count; i++) {
        gb[i] = 0.0f;
    }
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            if (y[i] != 0.0f) {
                gb[row.a + i * row_step_a(s)] +=
                    gy[i] * y[i] * any_log_f32(a[row.b + i * row_step_b(s)]);
            }
        }
        gy += row_size(s);
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

#endif
