/* The geometry of a pool, and which taps of a window lie on the map. */
#ifndef TINYODL_POOL_SHAPE_H
#define TINYODL_POOL_SHAPE_H

#include <stdint.h>

#include "conv_shape.h"

typedef struct {
    int32_t channels;
    int32_t in_height, in_width;
    int32_t out_height, out_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t pad_top, pad_left, pad_bottom, pad_right;
    int32_t dilation_height, dilation_width;
    int32_t count_include_pad;
} pool_shape;

/* Where the window of output row `oh` begins on the map, and which of its rows lie on it. */
static inline int32_t pool_top(const pool_shape *s, int32_t oh)
{
    return oh * s->stride_height - s->pad_top;
}

static inline range pool_rows(const pool_shape *s, int32_t oh)
{
    return taps_on_map(pool_top(s, oh), s->dilation_height, s->kernel_height, s->in_height);
}

static inline int32_t pool_left(const pool_shape *s, int32_t ow)
{
    return ow * s->stride_width - s->pad_left;
}

static inline range pool_columns(const pool_shape *s, int32_t ow)
{
    return taps_on_map(pool_left(s, ow), s->dilation_width, s->kernel_width, s->in_width);
}

/* The number of values that the window's sum is divided by. With count_include_pad that is the
 * window as far as it lies on the padded map. */
static inline float pool_divisor(const pool_shape *s, int32_t oh, int32_t ow)
{
    range rows = pool_rows(s, oh);
    range columns = pool_columns(s, ow);
    if (s->count_include_pad) {
        rows = taps_on_map(oh * s->stride_height, s->dilation_height, s->kernel_height,
                           s->pad_top + s->in_height + s->pad_bottom);
        columns = taps_on_map(ow * s->stride_width, s->dilation_width, s->kernel_width,
                              s->pad_left + s->in_width + s->pad_right);
    }
    return (float)((rows.end - rows.first) * (columns.end - columns.first));
}

#endif
