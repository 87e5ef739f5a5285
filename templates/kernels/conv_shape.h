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

typedef struct {
    int32_t first, end;
} range;

/* The taps k of `kernel` with 0 <= start + k * dilation < size. */
static inline range taps_on_map(int32_t start, int32_t dilation, int32_t kernel, int32_t size)
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
static inline range outputs_on_map(int32_t offset, int32_t stride, int32_t count, int32_t size)
{
    return taps_on_map(offset, stride, count, size);
}

#endif
