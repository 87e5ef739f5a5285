/* Pooling of int8 maps: rows [first, end) of each output channel.
 *
 * x (channels, in_height, in_width), y (channels, out_height, out_width)
 */
#ifndef TINYODL_QLINEAR_POOL_I8_H
#define TINYODL_QLINEAR_POOL_I8_H

#include <stdint.h>

#include "pool_shape.h"
#include "quantize.h"
#include "rows.h"

/* The row of x under row `kh` of the window that begins at row `top`, in a channel's `x_rows`. */
static inline __attribute__((always_inline)) const int8_t *
pool_row_i8(const pool_shape *s, int32_t x_rows, const int8_t *x_map, int32_t top, int32_t kh)
{
    return x_map + held_row(top + kh * s->dilation_height, x_rows, s->in_height) * s->in_width;
}

/// Maximum ///

static inline __attribute__((always_inline)) void
qlinear_max_pool_i8(const pool_shape *s, int32_t x_rows, int32_t y_rows, int32_t first,
                    int32_t end, const int8_t *restrict x, int8_t *restrict y)
{
    for (int32_t c = 0; c < s->channels; c++) {
        const int8_t *x_map = x + c * x_rows * s->in_width;
        int8_t *y_map = y + c * y_rows * s->out_width;

        for (int32_t oh = first; oh < end; oh++) {
            int8_t *y_row = y_map + held_row(oh, y_rows, s->out_height) * s->out_width;
            const range rows = pool_rows(s, oh);
            for (int32_t ow = 0; ow < s->out_width; ow++) {
                const int32_t left = pool_left(s, ow);
                const range columns = pool_columns(s, ow);
                int8_t best = INT8_MIN;
                for (int32_t kh = rows.first; kh < rows.end; kh++) {
                    const int8_t *x_row = pool_row_i8(s, x_rows, x_map, pool_top(s, oh), kh);
                    for (int32_t kw = columns.first; kw < columns.end; kw++) {
                        const int8_t value = x_row[left + kw * s->dilation_width];
                        best = value > best ? value : best;
                    }
                }
                y_row[ow] = best;
            }
        }
    }
}

/* The index in the map of the first maximum of the window, in the order row, column. */
static inline int32_t pool_first_maximum_i8(const pool_shape *s, const int8_t *x_map, int32_t oh,
                                            int32_t ow)
{
    const range rows = pool_rows(s, oh);
    const range columns = pool_columns(s, ow);
    int32_t best = (pool_top(s, oh) + rows.first * s->dilation_height) * s->in_width +
                   pool_left(s, ow) + columns.first * s->dilation_width;

    for (int32_t kh = rows.first; kh < rows.end; kh++) {
        const int32_t row = (pool_top(s, oh) + kh * s->dilation_height) * s->in_width;
        for (int32_t kw = columns.first; kw < columns.end; kw++) {
            const int32_t i = row + pool_left(s, ow) + kw * s->dilation_width;
            if (x_map[i] > x_map[best]) {
                best = i;
            }
        }
    }
    return best;
}

/* The gradient goes to the first maximum of each window. */
static inline void qlinear_max_pool_gradient_f32(const pool_shape *s, const float *restrict gy,
                                                 const int8_t *restrict x, float *restrict gx)
{
    const int32_t in_map = s->in_height * s->in_width;

    for (int32_t c = 0; c < s->channels; c++) {
        for (int32_t i = 0; i < in_map; i++) {
            gx[i] = 0.0f;
        }
        for (int32_t oh = 0; oh < s->out_height; oh++) {
            for (int32_t ow = 0; ow < s->out_width; ow++) {
                gx[pool_first_maximum_i8(s, x, oh, ow)] += *gy++;
            }
        }
        x += in_map;
        gx += in_map;
    }
}

/// Average ///

/* v = (sum of x - x_zero_point over the window) * factor / divisor      factor = s_x / s_y
 * y = clamp(round(v) + zero_point)
 */
static inline __attribute__((always_inline)) void
qlinear_average_pool_i8(const pool_shape *s, int32_t x_rows, int32_t y_rows, int32_t first,
                        int32_t end, int32_t x_zero_point, float factor, const output_i8 *o,
                        const int8_t *restrict x, int8_t *restrict y, uint8_t *restrict mask)
{
    for (int32_t c = 0; c < s->channels; c++) {
        const int8_t *x_map = x + c * x_rows * s->in_width;
        int8_t *y_map = y + c * y_rows * s->out_width;

        for (int32_t oh = first; oh < end; oh++) {
            int8_t *y_row = y_map + held_row(oh, y_rows, s->out_height) * s->out_width;
            const int32_t i = (c * s->out_height + oh) * s->out_width;
            const range rows = pool_rows(s, oh);
            for (int32_t ow = 0; ow < s->out_width; ow++) {
                const int32_t left = pool_left(s, ow);
                const range columns = pool_columns(s, ow);
                int32_t sum = 0;
                for (int32_t kh = rows.first; kh < rows.end; kh++) {
                    const int8_t *x_row = pool_row_i8(s, x_rows, x_map, pool_top(s, oh), kh);
                    for (int32_t kw = columns.first; kw < columns.end; kw++) {
                        sum += x_row[left + kw * s->dilation_width] - x_zero_point;
                    }
                }
                const float v = (float)sum * factor / pool_divisor(s, oh, ow);
                y_row[ow] = output_of_v(o, v, mask, i + ow);
            }
        }
    }
}

#endif
