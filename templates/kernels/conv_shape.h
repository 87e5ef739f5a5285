/* The geometry of a convolution, and which taps and outputs meet the map. */
#ifndef TINYODL_CONV_SHAPE_H
#define TINYODL_CONV_SHAPE_H

#include <stdint.h>

typedef struct {
    int32_t in_channels, in_height, in_width;
    int32_t out_channels, out_height, out_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t pad_top, pad_left;
    int32_t dilation_height, dilation_width;
    int32_t groups;
} conv_shape;

/* The same along one axis. */
typedef struct {
    int32_t inputs, outputs, taps, stride, dilation, pad;
} conv_axis;

/* Whether each output is made of the elements at its own place: maps are then one long row. */
static inline __attribute__((always_inline)) int conv_is_flat(const conv_shape *s)
{
    return s->kernel_height == 1 && s->kernel_width == 1 && s->stride_height == 1 &&
           s->stride_width == 1 && s->pad_top == 0 && s->pad_left == 0 &&
           s->out_height == s->in_height && s->out_width == s->in_width;
}

static inline __attribute__((always_inline)) conv_axis conv_rows(const conv_shape *s)
{
    return conv_is_flat(s) ? (conv_axis){1, 1, 1, 1, 1, 0}
                           : (conv_axis){s->in_height,     s->out_height,      s->kernel_height,
                                         s->stride_height, s->dilation_height, s->pad_top};
}

static inline __attribute__((always_inline)) conv_axis conv_columns(const conv_shape *s)
{
    const int32_t map = s->in_height * s->in_width;

    return conv_is_flat(s) ? (conv_axis){map, map, 1, 1, 1, 0}
                           : (conv_axis){s->in_width,     s->out_width,      s->kernel_width,
                                         s->stride_width, s->dilation_width, s->pad_left};
}

typedef struct {
    int32_t first, end;
} range;

enum { STRIP_TAPS = 7 }; /* of a kernel row, at most, where they are written out */

/* The taps k of `kernel` with 0 <= start + k * dilation < size. */
static inline __attribute__((always_inline)) range taps_on_map(int32_t start, int32_t dilation, int32_t kernel, int32_t size)
{
    range taps = {0, kernel};
    if (start < 0) {
        taps.first = (dilation - 1 - start) / dilation;
    }
    if (start + (kernel - 1) * dilation >= size) {
        taps.end = size > start ? (size - start + dilation - 1) / dilation : 0;
    }
    return taps;
}

/* The outputs o of `count` with 0 <= o * stride + offset < size: what one tap meets. */
static inline __attribute__((always_inline)) range outputs_on_map(int32_t offset, int32_t stride, int32_t count, int32_t size)
{
    return taps_on_map(offset, stride, count, size);
}

#endif
