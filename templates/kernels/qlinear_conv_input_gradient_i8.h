/* The gradient of an int8 convolution's input, batch 1, with respect to real values.
 *
 * gy     (out_channels, out_height, out_width)
 * w      int8 filters, and rest, see qlinear_conv_shape.h
 * scale  (out_channels): what one step of each channel's filter stands for
 * gx     (in_channels, in_height, in_width)
 *
 *   gx[c, p * stride + k * dilation - pad] = sum over m, k of scale[m] * w[m, c, k] * gy[m, p]
 *
 * Each element is summed in the order filter (those of w, then those of rest), kernel row, kernel
 * column, from 0. A weight becomes float32 and is scaled before it is multiplied.
 */
#ifndef TINYODL_QLINEAR_CONV_INPUT_GRADIENT_I8_H
#define TINYODL_QLINEAR_CONV_INPUT_GRADIENT_I8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "qlinear_conv_shape.h"

/* gx += the taps w of one filter on one channel, each times a copy of gy that it shifts. */
static inline __attribute__((always_inline)) void
add_shifted_maps(const qlinear_conv_shape *s, const float *restrict gy, const int8_t *restrict w,
                 float scale, float *restrict gx)
{
    for (int32_t kh = 0; kh < s->kernel_height; kh++) {
        const int32_t dh = kh * s->dilation_height - s->pad_top;
        const range rows = outputs_on_map(dh, s->stride_height, s->out_height, s->in_height);

        for (int32_t kw = 0; kw < s->kernel_width; kw++) {
            const int32_t dw = kw * s->dilation_width - s->pad_left;
            const range columns = outputs_on_map(dw, s->stride_width, s->out_width, s->in_width);
            const float weight = (float)*w++ * scale;

            for (int32_t oh = rows.first; oh < rows.end; oh++) {
                const float *gy_row = gy + oh * s->out_width;
                float *gx_row = gx + (oh * s->stride_height + dh) * s->in_width + dw;

                for (int32_t ow = columns.first; ow < columns.end; ow++) {
                    gx_row[ow * s->stride_width] += weight * gy_row[ow];
                }
            }
        }
    }
}

/* Pointwise, one group: the sums over all filters for one channel, of four positions at a time. */
static inline __attribute__((always_inline)) void
mix_maps(const qlinear_conv_shape *s, int32_t column, const float *restrict gy,
         const int8_t *restrict w, const float *restrict scale, const int8_t *restrict rest,
         const uint16_t *restrict out_order, float *restrict gx)
{
    const int32_t map = s->in_height * s->in_width;
    int32_t p = 0;

    for (; p + 4 <= map; p += 4) {
        float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
        for (int32_t i = 0; i < s->out_channels; i++) {
            const conv_filter f = filter_at(s, i, w, rest, out_order);
            const float weight = (float)*column_at(s, &f, column) * scale[f.channel];
            const float *g = gy + f.channel * map + p;
            sum0 += weight * g[0];
            sum1 += weight * g[1];
            sum2 += weight * g[2];
            sum3 += weight * g[3];
        }
        gx[p] = sum0;
        gx[p + 1] = sum1;
        gx[p + 2] = sum2;
        gx[p + 3] = sum3;
    }
    for (; p < map; p++) {
        float sum = 0.0f;
        for (int32_t i = 0; i < s->out_channels; i++) {
            const conv_filter f = filter_at(s, i, w, rest, out_order);
            const float weight = (float)*column_at(s, &f, column) * scale[f.channel];
            sum += weight * gy[f.channel * map + p];
        }
        gx[p] = sum;
    }
}

/* `scratch`, one plane of gy, is given where each group is one channel (depthwise) and the maps of gy
 * and gx are of one size: then gx may be gy itself. */
static inline __attribute__((always_inline)) void
qlinear_conv_input_gradient_i8(const qlinear_conv_shape *s, const float *gy,
                               const int8_t *restrict w, const float *restrict scale,
                               const int8_t *restrict rest, const uint16_t *restrict out_order,
                               const uint16_t *restrict in_order, float *gx,
                               float *restrict scratch)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;

    if (s->groups == 1 && s->kernel_height * s->kernel_width == 1 &&
        s->stride_height * s->stride_width == 1 && in_map == out_map) {
        for (int32_t c = 0; c < s->in_channels; c++) {
            float *gx_map = gx + (in_order ? in_order[c] : c) * in_map;
            mix_maps(s, c, gy, w, scale, rest, out_order, gx_map);
        }
        return;
    }
    for (int32_t i = 0; !scratch && i < s->in_channels * in_map; i++) {
        gx[i] = 0.0f;
    }
    for (int32_t i = 0; i < s->out_channels; i++) {
        const conv_filter f = filter_at(s, i, w, rest, out_order);
        const float *gy_map = gy + f.channel * out_map;

        if (scratch) {
            memcpy(scratch, gy_map, (size_t)out_map * sizeof *scratch);
            gy_map = scratch;
            memset(gx + f.channel * in_map, 0, (size_t)in_map * sizeof *gx);
        }
        for (int32_t c = 0; c < in_group; c++) {
            float *gx_map = gx + channel_read(s, f.channel, c, in_order) * in_map;
            add_shifted_maps(s, gy_map, column_at(s, &f, c), scale[f.channel], gx_map);
        }
    }
}

#endif
