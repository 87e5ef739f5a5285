/* Sum, difference, product, quotient, minimum and maximum of two operands, with broadcasting.
 *
 * The output may share memory with an operand of the same shape. The gradient of operand element e is
 * a sum over all output elements computed from e. `own` is the operand of the gradient (operand a of
 * the shape passed), `count` its number of elements.
 */
#ifndef TINYODL_ARITHMETIC_F32_H
#define TINYODL_ARITHMETIC_F32_H

#include <stdint.h>

#include "broadcast.h"

static inline void fill_zero_f32(int32_t n, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = 0.0f;
    }
}

/// y = a + b ///

static inline void add_f32(int32_t n, const float *a, const float *b, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = a[i] + b[i];
    }
}

static inline void add_broadcast_f32(const broadcast_shape *s, const float *a, const float *b, float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            y[i] = a[row.a + i * row_step_a(s)] + b[row.b + i * row_step_b(s)];
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/* gown = sign * gy, added up */
static inline void add_gradient_f32(const broadcast_shape *s, int32_t count, float sign,
                                    const float *restrict gy, float *restrict gown)
{
    broadcast_row row = {{0}, 0, 0};
    fill_zero_f32(count, gown);
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            gown[row.a + i * row_step_a(s)] += sign * gy[i];
        }
        gy += row_size(s);
    } while (broadcast_next(s, &row));
}

/// y = a - b ///

static inline void subtract_f32(const broadcast_shape *s, const float *a, const float *b, float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            y[i] = a[row.a + i * row_step_a(s)] - b[row.b + i * row_step_b(s)];
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/// y = a * b ///

static inline void multiply_f32(const broadcast_shape *s, const float *a, const float *b, float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            y[i] = a[row.a + i * row_step_a(s)] * b[row.b + i * row_step_b(s)];
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/* gown = gy * other, added up */
static inline void multiply_gradient_f32(const broadcast_shape *s, int32_t count,
                                         const float *restrict gy, const float *restrict other,
                                         float *restrict gown)
{
    broadcast_row row = {{0}, 0, 0};
    fill_zero_f32(count, gown);
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            gown[row.a + i * row_step_a(s)] += gy[i] * other[row.b + i * row_step_b(s)];
        }
        gy += row_size(s);
    } while (broadcast_next(s, &row));
}

/// y = a / b ///

static inline void divide_f32(const broadcast_shape *s, const float *a, const float *b, float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            y[i] = a[row.a + i * row_step_a(s)] / b[row.b + i * row_step_b(s)];
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/* Of the dividend: gown = gy / other, added up */
static inline void dividend_gradient_f32(const broadcast_shape *s, int32_t count,
                                         const float *restrict gy, const float *restrict other,
                                         float *restrict gown)
{
    broadcast_row row = {{0}, 0, 0};
    fill_zero_f32(count, gown);
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            gown[row.a + i * row_step_a(s)] += gy[i] / other[row.b + i * row_step_b(s)];
        }
        gy += row_size(s);
    } while (broadcast_next(s, &row));
}

/* Of the divisor: gown = -gy * y / own, added up */
static inline void divisor_gradient_f32(const broadcast_shape *s, int32_t count,
                                        const float *restrict gy, const float *restrict y,
                                        const float *restrict own, float *restrict gown)
{
    broadcast_row row = {{0}, 0, 0};
    fill_zero_f32(count, gown);
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            const int32_t at = row.a + i * row_step_a(s);
            gown[at] -= gy[i] * y[i] / own[at];
        }
        gy += row_size(s);
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/// y = max(a, b), y = min(a, b) ///

static inline void maximum_of_f32(const broadcast_shape *s, const float *a, const float *b, float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            const float p = a[row.a + i * row_step_a(s)];
            const float q = b[row.b + i * row_step_b(s)];
            y[i] = p > q ? p : q;
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

static inline void minimum_of_f32(const broadcast_shape *s, const float *a, const float *b, float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            const float p = a[row.a + i * row_step_a(s)];
            const float q = b[row.b + i * row_step_b(s)];
            y[i] = p < q ? p : q;
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/* gown = gy where own is the larger one (the smaller one with sign -1), half of it where both are
 * equal, added up */
static inline void extremum_gradient_f32(const broadcast_shape *s, int32_t count, float sign,
                                         const float *restrict gy, const float *own,
                                         const float *other, float *restrict gown)
{
    broadcast_row row = {{0}, 0, 0};
    fill_zero_f32(count, gown);
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            const int32_t at = row.a + i * row_step_a(s);
            const float mine = sign * own[at];
            const float theirs = sign * other[row.b + i * row_step_b(s)];
            gown[at] += mine > theirs ? gy[i] : mine == theirs ? 0.5f * gy[i] : 0.0f;
        }
        gy += row_size(s);
    } while (broadcast_next(s, &row));
}

#endif
