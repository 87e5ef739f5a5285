/* Convolution of float32 maps, batch 1: forward and the gradient of the input.
 *
 * x  (in_channels, in_height, in_width)
 * w  (out_channels, in_channels / groups, kernel_height, kernel_width)
 * b  (out_channels), or NULL
 * y  (out_channels, out_height, out_width)
 *
 *   y[m, p] = b[m] + sum over c, k of w[m, c, k] * x[c, p * stride + k * dilation - pad]
 *
 * Padding is never stored: for each output row and column the taps that fall on the map are a range.
 */
#ifndef TINYODL_CONV_F32_H
#define TINYODL_CONV_F32_H

#include <stddef.h>
#include <stdint.h>

#include "conv_shape.h"

/* Summed in the order b, c, kernel row, kernel column. */
static inline __attribute__((always_inline)) void conv_f32(const conv_shape *s, const float *restrict x, const float *restrict w,
                     const float *restrict b, float *restrict y)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t out_group = s->out_channels / s->groups;
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t taps = s->kernel_height * s->kernel_width;

    for (int32_t m = 0; m < s->out_channels; m++) {
        const float *x_group = x + (m / out_group) * in_group * in_map;
        const float *w_filter = w + m * in_group * taps;
        const float bias = b ? b[m] : 0.0f;

        for (int32_t oh = 0; oh < s->out_height; oh++) {
            const int32_t ih0 = oh * s->stride_height - s->pad_top;
            const range rows = taps_on_map(ih0, s->dilation_height, s->kernel_height, s->in_height);

            for (int32_t ow = 0; ow < s->out_width; ow++) {
                const int32_t iw0 = ow * s->stride_width - s->pad_left;
                const range columns =
                    taps_on_map(iw0, s->dilation_width, s->kernel_width, s->in_width);
                float sum = bias;

                for (int32_t c = 0; c < in_group; c++) {
                    const float *x_map = x_group + c * in_map;
                    const float *w_map = w_filter + c * taps;

                    for (int32_t kh = rows.first; kh < rows.end; kh++) {
                        const float *x_row =
                            x_map + (ih0 + kh * s->dilation_height) * s->in_width + iw0;
                        const float *w_row = w_map + kh * s->kernel_width;

                        for (int32_t kw = columns.first; kw < columns.end; kw++) {
                            sum += w_row[kw] * x_row[kw * s->dilation_width];
                        }
                    }
                }
                *y++ = sum;
            }
        }
    }
}

/* gx[c, p * stride + k * dilation - pad] += w[m, c, k] * gy[m, p]: each tap of each filter adds a
 * scaled copy of the output gradient, in the order m, c, kernel row, kernel column. */
static inline __attribute__((always_inline)) void conv_input_gradient_f32(const conv_shape *s, const float *restrict gy,
                                    const float *restrict w, float *restrict gx)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t out_group = s->out_channels / s->groups;
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;

    for (int32_t i = 0; i < s->in_channels * in_map; i++) {
        gx[i] = 0.0f;
    }
    for (int32_t m = 0; m < s->out_channels; m++) {
        const float *gy_map = gy + m * out_map;
        float *gx_map = gx + (m / out_group) * in_group * in_map;

        for (int32_t c = 0; c < in_group; c++, gx_map += in_map) {
            for (int32_t kh = 0; kh < s->kernel_height; kh++) {
                const int32_t dh = kh * s->dilation_height - s->pad_top;
                const range rows =
                    outputs_on_map(dh, s->stride_height, s->out_height, s->in_height);

                for (int32_t kw = 0; kw < s->kernel_width; kw++) {
                    const int32_t dw = kw * s->dilation_width - s->pad_left;
                    const range columns =
                        outputs_on_map(dw, s->stride_width, s->out_width, s->in_width);
                    const float weight = *w++;

                    for (int32_t oh = rows.first; oh < rows.end; oh++) {
                        const float *gy_row = gy_map + oh * s->out_width;
                        float *gx_row = gx_map + (oh * s->stride_height + dh) * s->in_width + dw;

                        for (int32_t ow = columns.first; ow < columns.end; ow++) {
                            gx_row[ow * s->stride_width] += weight * gy_row[ow];
                        }
                    }
                }
            }
        }
    }
}

#endif
