/* Comparisons, whose results are 1 for true and 0 for false, and a choice by such a result.
 *
 * The output may be the memory of an operand that has its shape.
 */
#ifndef TINYODL_SELECT_F32_H
#define TINYODL_SELECT_F32_H

#include <stdint.h>

#include "broadcast.h"

/// y = a > b ///

static inline void greater_f32(const broadcast_shape *s, const float *a, const float *b, float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            y[i] = a[row.a + i * row_step_a(s)] > b[row.b + i * row_step_b(s)] ? 1.0f : 0.0f;
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/// y = a >= b ///

static inline void greater_or_equal_f32(const broadcast_shape *s, const float *a, const float *b,
                                        float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            y[i] = a[row.a + i * row_step_a(s)] >= b[row.b + i * row_step_b(s)] ? 1.0f : 0.0f;
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/// y = a equals b ///

static inline void equal_f32(const broadcast_shape *s, const float *a, const float *b, float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            y[i] = a[row.a + i * row_step_a(s)] == b[row.b + i * row_step_b(s)] ? 1.0f : 0.0f;
        }
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/// y = c ? x : z, element by element; steps of 0 repeat the one element of x or z ///

static inline void select_f32(int32_t n, const float *c, int32_t step_x, const float *x,
                              int32_t step_z, const float *z, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = c[i] != 0.0f ? x[i * step_x] : z[i * step_z];
    }
}

/* gx = gy where c is not 0, if `of` is 1; where it is 0, if `of` is 0; else 0 */
static inline void select_gradient_f32(int32_t n, int32_t of, const float *c, const float *gy,
                                       float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = (c[i] != 0.0f) == (of != 0) ? gy[i] : 0.0f;
    }
}

#endif
