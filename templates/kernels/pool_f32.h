/* Pooling of float32 maps, forward and backward. The maps of a batch are further channels.
 *
 * x (channels, in_height, in_width), y (channels, out_height, out_width)
 */
#ifndef TINYODL_POOL_F32_H
#define TINYODL_POOL_F32_H

#include <stdint.h>

#include "pool_shape.h"

/// Maximum ///

/* The index in the map of the first maximum of the window, in the order row, column. */
static inline int32_t pool_first_maximum(const pool_shape *s, const float *x_map, int32_t oh,
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

static inline void max_pool_f32(const pool_shape *s, const float *restrict x, float *restrict y)
{
    for (int32_t c = 0; c < s->channels; c++) {
        for (int32_t oh = 0; oh < s->out_height; oh++) {
            for (int32_t ow = 0; ow < s->out_width; ow++) {
                *y++ = x[pool_first_maximum(s, x, oh, ow)];
            }
        }
        x += s->in_height * s->in_width;
    }
}

static inline void max_pool_gradient_f32(const pool_shape *s, const float *restrict gy,
                                  const float *restrict x, float *restrict gx)
{
    const int32_t in_map = s->in_height * s->in_width;

    for (int32_t c = 0; c < s->channels; c++) {
        for (int32_t i = 0; i < in_map; i++) {
            gx[i] = 0.0f;
        }
        for (int32_t oh = 0; oh < s->out_height; oh++) {
            for (int32_t ow = 0; ow < s->out_width; ow++) {
                gx[pool_first_maximum(s, x, oh, ow)] += *gy++;
            }
        }
        x += in_map;
        gx += in_map;
    }
}

/// Average ///

static inline void average_pool_f32(const pool_shape *s, const float *restrict x, float *restrict y)
{
    for (int32_t c = 0; c < s->channels; c++) {
        for (int32_t oh = 0; oh < s->out_height; oh++) {
            const range rows = pool_rows(s, oh);
            for (int32_t ow = 0; ow < s->out_width; ow++) {
                const range columns = pool_columns(s, ow);
                float sum = 0.0f;
                for (int32_t kh = rows.first; kh < rows.end; kh++) {
                    const int32_t row = (pool_top(s, oh) + kh * s->dilation_height) * s->in_width;
                    for (int32_t kw = columns.first; kw < columns.end; kw++) {
                        sum += x[row + pool_left(s, ow) + kw * s->dilation_width];
                    }
                }
                *y++ = sum / pool_divisor(s, oh, ow);
            }
        }
        x += s->in_height * s->in_width;
    }
}

static inline void average_pool_gradient_f32(const pool_shape *s, const float *restrict gy,
                                      float *restrict gx)
{
    const int32_t in_map = s->in_height * s->in_width;

    for (int32_t c = 0; c < s->channels; c++) {
        for (int32_t i = 0; i < in_map; i++) {
            gx[i] = 0.0f;
        }
        for (int32_t oh = 0; oh < s->out_height; oh++) {
            const range rows = pool_rows(s, oh);
            for (int32_t ow = 0; ow < s->out_width; ow++) {
                const range columns = pool_columns(s, ow);
                const float share = *gy++ / pool_divisor(s, oh, ow);
                for (int32_t kh = rows.first; kh < rows.end; kh++) {
                    const int32_t row = (pool_top(s, oh) + kh * s->dilation_height) * s->in_width;
                    for (int32_t kw = columns.first; kw < columns.end; kw++) {
                        gx[row + pool_left(s, ow) + kw * s->dilation_width] += share;
                    }
                }
            }
        }
        gx += in_map;
    }
}

#endif
