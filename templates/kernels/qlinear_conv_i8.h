/* Convolution of int8 maps, batch 1: rows [first, end) of each output channel.
 *
 * x           (in_channels, in_height, in_width)
 * w, rest     int8 filters, see qlinear_conv_shape.h
 * b           int32 (out_channels), or NULL
 * multiplier  (out_channels): the scales of x and of the channel's filter, divided by that of y
 * delta       int16 (out_channels), or NULL: learned change of the bias, in 1/256 of a step of y
 * y           (out_channels, out_height, out_width)
 *
 *   sum  = b[m] + sum over c, k of w[m, c, k] * (x[c, p * stride + k * dilation - pad] - x_zero_point)
 *   v    = sum * multiplier[m] + delta[m] / 256
 *   y[m, p] = clamp(round(v) + zero_point)
 *
 * Padding stands for x_zero_point, so it adds nothing and is never stored. Sums are int32, so their
 * order is of no consequence; |b| + 2^15 * in_group * kh * kw has to stay below 2^31.
 *
 * x and y may be buffers of `x_rows` and `y_rows` rows of each channel (rows.h).
 */
#ifndef TINYODL_QLINEAR_CONV_I8_H
#define TINYODL_QLINEAR_CONV_I8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "qlinear_conv_shape.h"
#include "quantize.h"
#include "rows.h"

/* What the outputs of one channel in one row have in common. */
typedef struct {
    conv_filter filter;
    const uint16_t *in_order;
    const int8_t *x; /* the first channel of the group */
    int32_t x_rows, x_zero_point;
    int32_t top; /* the row of x under the first tap, which may lie outside the map */
    range taps;  /* the rows of taps on the map */
} row_of_outputs;

static inline __attribute__((always_inline)) const int8_t *
row_under(const qlinear_conv_shape *s, const row_of_outputs *r, int32_t column, int32_t kh)
{
    const int32_t channel = r->in_order ? r->in_order[column] : column;
    const int32_t row = held_row(r->top + kh * s->dilation_height, r->x_rows, s->in_height);
    return r->x + (channel * r->x_rows + row) * s->in_width;
}

/* The sum of w over the taps on the map, for windows that lie on it from left to right. */
static inline __attribute__((always_inline)) int32_t sum_of_weights(const qlinear_conv_shape *s,
                                                                    const row_of_outputs *r)
{
    int32_t sum = 0;

    for (int32_t c = 0; c < s->in_channels / s->groups; c++) {
        const int8_t *w = column_at(s, &r->filter, c);
        for (int32_t k = r->taps.first * s->kernel_width; k < r->taps.end * s->kernel_width; k++) {
            sum += w[k];
        }
    }
    return sum;
}

/* The sum of w * (x - x_zero_point) for output column ow. */
static inline __attribute__((always_inline)) int32_t sum_of_one(const qlinear_conv_shape *s,
                                                                const row_of_outputs *r, int32_t ow)
{
    const int32_t left = ow * s->stride_width - s->pad_left;
    const range taps = taps_on_map(left, s->dilation_width, s->kernel_width, s->in_width);
    int32_t sum = 0;

    for (int32_t c = 0; c < s->in_channels / s->groups; c++) {
        const int8_t *w = column_at(s, &r->filter, c);
        for (int32_t kh = r->taps.first; kh < r->taps.end; kh++) {
            const int8_t *x_row = row_under(s, r, c, kh) + left;
            const int8_t *w_row = w + kh * s->kernel_width;
            for (int32_t kw = taps.first; kw < taps.end; kw++) {
                sum += w_row[kw] * (x_row[kw * s->dilation_width] - r->x_zero_point);
            }
        }
    }
    return sum;
}

/* The sums of w * x for output columns ow to ow + 3, whose windows lie on the map from left to right:
 * each weight is read once for four products. */
static inline __attribute__((always_inline)) void
sums_of_four(const qlinear_conv_shape *s, const row_of_outputs *r, int32_t ow, int32_t *sums)
{
    const int32_t left = ow * s->stride_width - s->pad_left;
    const int32_t step = s->stride_width;
    int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;

    for (int32_t c = 0; c < s->in_channels / s->groups; c++) {
        const int8_t *w = column_at(s, &r->filter, c);
        for (int32_t kh = r->taps.first; kh < r->taps.end; kh++) {
            const int8_t *x = row_under(s, r, c, kh) + left;
            const int8_t *w_row = w + kh * s->kernel_width;
            for (int32_t kw = 0; kw < s->kernel_width; kw++, x += s->dilation_width) {
                const int32_t weight = w_row[kw];
                sum0 += weight * x[0];
                sum1 += weight * x[step];
                sum2 += weight * x[2 * step];
                sum3 += weight * x[3 * step];
            }
        }
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* What turns a sum into an output of one channel. */
typedef struct {
    int32_t bias;
    float multiplier, delta;
} channel_output;

static inline __attribute__((always_inline)) int8_t
output_of_sum(const output_i8 *o, const channel_output *of, int32_t sum, uint8_t *mask, int32_t i)
{
    return output_of_v(o, (float)sum * of->multiplier + of->delta, mask, i);
}

/* One row of one channel; `offset` is for windows that lie on the map from left to right, and `place`
 * the index of the row's first output among all. */
static inline __attribute__((always_inline)) void
outputs_of_row(const qlinear_conv_shape *s, const row_of_outputs *r, const output_i8 *o,
               const channel_output *of, int32_t offset, int8_t *y, uint8_t *mask, int32_t place)
{
    const int32_t reach = (s->kernel_width - 1) * s->dilation_width;
    const range inside =
        outputs_on_map(-s->pad_left, s->stride_width, s->out_width, s->in_width - reach);
    int32_t ow = 0;

    while (ow < s->out_width) {
        if (ow >= inside.first && ow + 4 <= inside.end) {
            int32_t sums[4];
            sums_of_four(s, r, ow, sums);
            for (int32_t k = 0; k < 4; k++, ow++) {
                y[ow] = output_of_sum(o, of, offset + sums[k], mask, place + ow);
            }
        } else {
            y[ow] = output_of_sum(o, of, of->bias + sum_of_one(s, r, ow), mask, place + ow);
            ow++;
        }
    }
}

/* `scratch`, one plane of x, is given where each group is one channel (depthwise): then y may take the
 * memory of x, provided that its maps are as large or, with out_order NULL, smaller. */
static inline __attribute__((always_inline)) void
qlinear_conv_i8(const qlinear_conv_shape *s, int32_t x_rows, int32_t y_rows, int32_t first,
                int32_t end, int32_t x_zero_point, const output_i8 *o, const int8_t *x,
                const int8_t *restrict w, const int32_t *restrict b,
                const float *restrict multiplier, const int16_t *restrict delta,
                const int8_t *restrict rest, const uint16_t *restrict out_order,
                const uint16_t *restrict in_order, int8_t *y, uint8_t *restrict mask,
                int8_t *restrict scratch)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t out_group = s->out_channels / s->groups;
    const int32_t x_plane = x_rows * s->in_width;

    for (int32_t i = 0; i < s->out_channels; i++) {
        const conv_filter f = filter_at(s, i, w, rest, out_order);
        const int32_t m = f.channel;
        const channel_output of = {b ? b[m] : 0, multiplier[m],
                                   delta ? (float)delta[m] * (1.0f / 256.0f) : 0.0f};
        const int8_t *x_group = x + m / out_group * in_group * x_plane;
        int32_t offset = 0;
        range known = {-1, -1}; /* the rows of taps that `offset` is for */

        if (scratch) {
            memcpy(scratch, x_group, (size_t)x_plane);
            x_group = scratch;
        }
        for (int32_t oh = first; oh < end; oh++) {
            const int32_t top = oh * s->stride_height - s->pad_top;
            const range taps = taps_on_map(top, s->dilation_height, s->kernel_height, s->in_height);
            const row_of_outputs r = {f, in_order, x_group, x_rows, x_zero_point, top, taps};
            const int32_t y_row = m * y_rows + held_row(oh, y_rows, s->out_height);

            if (taps.first != known.first || taps.end != known.end) {
                offset = of.bias - x_zero_point * sum_of_weights(s, &r);
                known = taps;
            }
            outputs_of_row(s, &r, o, &of, offset, y + y_row * s->out_width, mask,
                           (m * s->out_height + oh) * s->out_width);
        }
    }
}

/* saved[i] = x[order[i]], planes of `map` elements. */
static inline void save_channels_i8(int32_t channels, int32_t map, const uint16_t *restrict order,
                                    const int8_t *restrict x, int8_t *restrict saved)
{
    for (int32_t i = 0; i < channels; i++) {
        memcpy(saved + i * map, x + order[i] * map, (size_t)map);
    }
}

#endif
