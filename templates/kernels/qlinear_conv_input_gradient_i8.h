/* The gradient of an int8 convolution's input, batch 1, with respect to real values.
 *
 * gy     (out_channels, out_height, out_width)
 * w      int8 filters, and rest, see qlinear_conv_shape.h
 * scale  (out_channels): what one step of each channel's filter stands for
 * gx     (in_channels, in_height, in_width)
 * onto   NULL, or a gradient of the same input that gx is added to; gx may be onto itself
 *
 *   gx[c, p * stride + k * dilation - pad] = sum over m, k of scale[m] * w[m, c, k] * gy[m, p]
 *
 * Each element is summed in the order filter (those of w, then those of rest), kernel row, kernel
 * column, from 0 or from onto. A weight becomes float32 and is scaled before it is multiplied.
 *
 * Where only a few channels of a map are there at a time, it is made in parts, with the same bits.
 */
#ifndef TINYODL_QLINEAR_CONV_INPUT_GRADIENT_I8_H
#define TINYODL_QLINEAR_CONV_INPUT_GRADIENT_I8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "qlinear_conv_shape.h"

static inline __attribute__((always_inline)) void begin_sums(int32_t n, const float *onto,
                                                             float *gx)
{
    if (onto == gx) {
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        gx[i] = onto ? onto[i] : 0.0f;
    }
}

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
         const uint16_t *restrict out_order, const float *onto, float *gx)
{
    const int32_t map = s->in_height * s->in_width;
    int32_t p = 0;

    for (; p + 4 <= map; p += 4) {
        float sum0 = onto ? onto[p] : 0.0f;
        float sum1 = onto ? onto[p + 1] : 0.0f;
        float sum2 = onto ? onto[p + 2] : 0.0f;
        float sum3 = onto ? onto[p + 3] : 0.0f;
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
        float sum = onto ? onto[p] : 0.0f;
        for (int32_t i = 0; i < s->out_channels; i++) {
            const conv_filter f = filter_at(s, i, w, rest, out_order);
            const float weight = (float)*column_at(s, &f, column) * scale[f.channel];
            sum += weight * gy[f.channel * map + p];
        }
        gx[p] = sum;
    }
}

/* Whether positions correspond one to one, so that maps are mixed as they are. */
static inline __attribute__((always_inline)) int is_pointwise(const qlinear_conv_shape *s)
{
    return s->groups == 1 && s->kernel_height * s->kernel_width == 1 &&
           s->stride_height * s->stride_width == 1 && s->in_height == s->out_height &&
           s->in_width == s->out_width;
}

/* gx, the maps of one group, += the columns of a filter, whose gy is one map. */
static inline __attribute__((always_inline)) void
add_filter(const qlinear_conv_shape *s, const conv_filter *f, const float *restrict gy, float scale,
           const uint16_t *restrict in_order, float *restrict gx)
{
    const int32_t in_map = s->in_height * s->in_width;

    for (int32_t c = 0; c < s->in_channels / s->groups; c++) {
        add_shifted_maps(s, gy, column_at(s, f, c), scale,
                         gx + (in_order ? in_order[c] : c) * in_map);
    }
}

/* `scratch`, one plane of gy, is given where each group is one channel (depthwise) and the maps of gy
 * and gx are of one size: then gx may be gy itself, and is not added to anything. */
static inline __attribute__((always_inline)) void
qlinear_conv_input_gradient_i8(const qlinear_conv_shape *s, const float *gy,
                               const int8_t *restrict w, const float *restrict scale,
                               const int8_t *restrict rest, const uint16_t *restrict out_order,
                               const uint16_t *restrict in_order, const float *onto, float *gx,
                               float *restrict scratch)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;

    if (is_pointwise(s)) {
        for (int32_t c = 0; c < s->in_channels; c++) {
            const int32_t at = (in_order ? in_order[c] : c) * in_map;
            mix_maps(s, c, gy, w, scale, rest, out_order, onto ? onto + at : NULL, gx + at);
        }
        return;
    }
    if (!scratch) {
        begin_sums(s->in_channels * in_map, onto, gx);
    }
    for (int32_t i = 0; i < s->out_channels; i++) {
        const conv_filter f = filter_at(s, i, w, rest, out_order);
        const float *gy_map = gy + f.channel * out_map;

        if (scratch) {
            memcpy(scratch, gy_map, (size_t)out_map * sizeof *scratch);
            gy_map = scratch;
            memset(gx + f.channel * in_map, 0, (size_t)in_map * sizeof *gx);
        }
        const int32_t group = f.channel / (s->out_channels / s->groups);
        add_filter(s, &f, gy_map, scale[f.channel], in_order, gx + group * in_group * in_map);
    }
}

/// A few channels at a time ///

/* Of one group, the maps of gx that `count` columns make, from column part * count on; onto has all
 * maps. */
static inline __attribute__((always_inline)) void
qlinear_conv_input_gradient_columns_i8(const qlinear_conv_shape *s, int32_t part, int32_t count,
                                       const float *restrict gy, const int8_t *restrict w,
                                       const float *restrict scale, const int8_t *restrict rest,
                                       const uint16_t *restrict out_order,
                                       const uint16_t *restrict in_order, const float *onto,
                                       float *gx)
{
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;

    for (int32_t c = part * count; c < (part + 1) * count; c++, gx += in_map) {
        const float *onto_map = onto ? onto + (in_order ? in_order[c] : c) * in_map : NULL;

        if (is_pointwise(s)) {
            mix_maps(s, c, gy, w, scale, rest, out_order, onto_map, gx);
            continue;
        }
        begin_sums(in_map, onto_map, gx);
        for (int32_t i = 0; i < s->out_channels; i++) {
            const conv_filter f = filter_at(s, i, w, rest, out_order);
            const float *gy_map = gy + f.channel * out_map;
            add_shifted_maps(s, gy_map, column_at(s, &f, c), scale[f.channel], gx);
        }
    }
}

/* Pointwise: gx += the columns of four filters from filter i on, whose maps follow one another. */
static inline __attribute__((always_inline)) void
add_four_filters(const qlinear_conv_shape *s, int32_t i, const float *restrict gy,
                 const int8_t *restrict w, const float *restrict scale, const int8_t *restrict rest,
                 const uint16_t *restrict out_order, const uint16_t *restrict in_order,
                 float *restrict gx)
{
    const int32_t map = s->in_height * s->in_width;

    for (int32_t c = 0; c < s->in_channels; c++) {
        float *gx_map = gx + (in_order ? in_order[c] : c) * map;
        float weights[4];

        for (int32_t n = 0; n < 4; n++) {
            const conv_filter f = filter_at(s, i + n, w, rest, out_order);
            weights[n] = (float)*column_at(s, &f, c) * scale[f.channel];
        }
        for (int32_t p = 0; p < map; p++) {
            float sum = gx_map[p];
            sum += weights[0] * gy[p];
            sum += weights[1] * gy[p + map];
            sum += weights[2] * gy[p + 2 * map];
            sum += weights[3] * gy[p + 3 * map];
            gx_map[p] = sum;
        }
    }
}

/* What `count` filters from filter part * count on add to gx; gy are the maps of these filters alone.
 * Of one group gx are all maps, and parts come in order: part 0 begins the sums. Where each group is
 * one channel (depthwise) gx are the maps of these filters alone. */
static inline __attribute__((always_inline)) void
qlinear_conv_input_gradient_filters_i8(const qlinear_conv_shape *s, int32_t part, int32_t count,
                                       const float *restrict gy, const int8_t *restrict w,
                                       const float *restrict scale, const int8_t *restrict rest,
                                       const uint16_t *restrict out_order,
                                       const uint16_t *restrict in_order, const float *onto,
                                       float *gx)
{
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;
    const int32_t begun = s->groups == 1 ? s->in_channels : count;

    if (s->groups > 1 || part == 0) {
        begin_sums(begun * in_map, onto, gx);
    }
    if (is_pointwise(s) && count == 4) {
        add_four_filters(s, 4 * part, gy, w, scale, rest, out_order, in_order, gx);
        return;
    }
    for (int32_t n = 0; n < count; n++) {
        const conv_filter f = filter_at(s, part * count + n, w, rest, out_order);
        float *gx_group = gx + (s->groups == 1 ? 0 : n) * in_map;
        add_filter(s, &f, gy + n * out_map, scale[f.channel], in_order, gx_group);
    }
}

#endif
