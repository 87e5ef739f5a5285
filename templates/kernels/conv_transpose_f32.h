/* Transposed convolution of float32 maps, batch 1.
 *
 * It transposes a convolution from y's maps to x's, and `shape` describes this convolution. Forward it
 * is the convolution's input gradient; its own gradients are the convolution itself and its weight
 * gradient.
 *
 * x  (out_channels, out_height, out_width)
 * w  (out_channels, in_channels / groups, kernel_height, kernel_width)
 * b  (in_channels), or NULL
 * y  (in_channels, in_height, in_width)
 *
 *   y[m, p * stride + k * dilation - pad] = b[m] + sum over c, k of w[c, m, k] * x[c, p]
 */
#ifndef TINYODL_CONV_TRANSPOSE_F32_H
#define TINYODL_CONV_TRANSPOSE_F32_H

#include <stddef.h>
#include <stdint.h>

#include "conv_f32.h"

static inline __attribute__((always_inline)) void
conv_transpose_f32(const conv_shape *s, const float *restrict x, const float *restrict w,
                   const float *restrict b, float *restrict y)
{
    const int32_t map = s->in_height * s->in_width;

    conv_input_gradient_f32(s, x, w, y);
    for (int32_t m = 0; b && m < s->in_channels; m++) {
        for (int32_t p = 0; p < map; p++) {
            y[m * map + p] += b[m];
        }
    }
}

#endif
