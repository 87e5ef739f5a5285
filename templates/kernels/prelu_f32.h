/* PRelu with a slope that is stretched over x, forward and backward. Operand a is the slope.
 *
 *   y = x > 0 ? x : slope * x
 */
#ifndef TINYODL_PRELU_F32_H
#define TINYODL_PRELU_F32_H

#include <stdint.h>

#include "broadcast.h"

/* y may be x's own memory. */
static inline void prelu_f32(const broadcast_shape *s, const float *slope, const float *x, float *y)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            y[i] = x[i] > 0.0f ? x[i] : slope[row.a + i * row_step_a(s)] * x[i];
        }
        x += row_size(s);
        y += row_size(s);
    } while (broadcast_next(s, &row));
}

/* gx = x > 0 ? gy : slope * gy. gx may be gy's or x's own memory. */
static inline void prelu_input_gradient_f32(const broadcast_shape *s, const float *slope,
                                            const float *gy, const float *x, float *gx)
{
    broadcast_row row = {{0}, 0, 0};
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            gx[i] = x[i] > 0.0f ? gy[i] : slope[row.a + i * row_step_a(s)] * gy[i];
        }
        gy += row_size(s);
        x += row_size(s);
        gx += row_size(s);
    } while (broadcast_next(s, &row));
}

/* gslope = x > 0 ? 0 : x * gy, added up over the elements that one of `count` slopes works on */
static inline void prelu_slope_gradient_f32(const broadcast_shape *s, int32_t count,
                                            const float *restrict gy, const float *restrict x,
                                            float *restrict gslope)
{
    broadcast_row row = {{0}, 0, 0};
    for (int32_t i = 0; i < count; i++) {
        gslope[i] = 0.0f;
    }
    do {
        for (int32_t i = 0; i < row_size(s); i++) {
            gslope[row.a + i * row_step_a(s)] += x[i] > 0.0f ? 0.0f : x[i] * gy[i];
        }
        gy += row_size(s);
        x += row_size(s);
    } while (broadcast_next(s, &row));
}

#endif
