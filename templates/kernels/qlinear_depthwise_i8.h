/* Depthwise convolution of int8 maps, batch 1: each channel by itself. What it computes, and its
 * arguments, are those of qlinear_conv_i8.h, with as many groups as channels, in and out.
 *
 * Rows of x are widened to int16 with the zero point taken off and zeros at their sides, a strip of
 * them at a time: so windows at the sides are like all others, and y may take the memory of x. A
 * strip's sums are made, and then its outputs.
 */
#ifndef TINYODL_QLINEAR_DEPTHWISE_I8_H
#define TINYODL_QLINEAR_DEPTHWISE_I8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "dot_i8.h"
#include "qlinear_conv_shape.h"
#include "qlinear_outputs_i8.h"
#include "rows.h"

/* How many int16 a widened row takes: those under the windows, and what is read behind them. */
static inline int32_t widened_pitch(const qlinear_conv_shape *s)
{
    const int32_t reach = (s->kernel_width - 1) * s->dilation_width + 1;
    return ((s->out_width + 1) * s->stride_width + reach + 1) & ~1;
}

static inline int32_t rows_under(const qlinear_conv_shape *s, int32_t outputs)
{
    return (outputs - 1) * s->stride_height + (s->kernel_height - 1) * s->dilation_height + 1;
}

/* to[i] = x[i] - zero_point */
static inline __attribute__((always_inline)) void widen(const int8_t *x, int32_t count,
                                                        int32_t zero_point, int16_t *to)
{
    const uint32_t minus_zero = minus_zero_point(zero_point);
    int32_t i = 0;

    for (; i + 4 <= count; i += 4, to += 4) {
        const uint32_t four = load_word(x + i);
        const uint32_t even = plus_even_bytes(minus_zero, four);
        const uint32_t odd = plus_odd_bytes(minus_zero, four);
        store_word(to, low_halves(even, odd));
        store_word(to + 2, high_halves(even, odd));
    }
    for (; i < count; i++) {
        *to++ = (int16_t)(x[i] - zero_point);
    }
}

/* Rows `first` to end - 1 of a channel's map, one below the other; what is outside is zero. */
static __attribute__((noinline, unused)) void widen_rows(const qlinear_conv_shape *s,
                                                         const int8_t *x, int32_t x_rows,
                                                         int32_t first, int32_t end,
                                                         int32_t zero_point, int16_t *to)
{
    const int32_t pitch = widened_pitch(s), room = pitch - s->pad_left;
    const int32_t count = room < s->in_width ? room : s->in_width;

    for (int32_t row = first; row < end; row++, to += pitch) {
        if (row >= 0 && row < s->in_height) {
            const int8_t *from = x + held_row(row, x_rows, s->in_height) * s->in_width;
            widen(from, count, zero_point, to + s->pad_left);
        } else {
            memset(to, 0, (size_t)pitch * sizeof *to);
        }
    }
}

/// Sums ///

/* How many pairs of weights a row of taps takes: one more than fit, for taps that begin in the middle
 * of one, and as many as there is a loop for. */
static inline int32_t pairs_in_row(const qlinear_conv_shape *s)
{
    return s->kernel_width <= 3 ? 2 : s->kernel_width <= 5 ? 3 : 4;
}

/* Each of these makes the sums of `rows` rows of outputs, one behind the other, and perhaps one
 * more, which means nothing. */

/* 3x3, stride 1 from left to right: two outputs at a time, with all weights in registers. */
static __attribute__((noinline, unused)) void
sums_of_3x3(const qlinear_conv_shape *s, const int8_t *w, int32_t bias, const int16_t *from,
            int32_t rows, int32_t *sums)
{
    const int32_t pitch = widened_pitch(s);
    const uint32_t left0 = pair_of(w[0], w[1]), right0 = pair_of(w[1], w[2]);
    const uint32_t left1 = pair_of(w[3], w[4]), right1 = pair_of(w[4], w[5]);
    const uint32_t left2 = pair_of(w[6], w[7]), right2 = pair_of(w[7], w[8]);

    for (; rows > 0; rows--, from += s->stride_height * pitch, sums += s->out_width) {
        const int16_pair *x0 = (const int16_pair *)(const void *)from;
        const int16_pair *x1 = x0 + s->dilation_height * pitch / 2;
        const int16_pair *x2 = x1 + s->dilation_height * pitch / 2;
        int32_t *to = sums, *end = sums + s->out_width;
        do {
            int32_t sum0 = smlad(left0, x0[0], bias), sum1 = smlabt(left0, x0[0], bias);
            sum0 = smlabt(x0[1], right0, sum0);
            sum1 = smlad(right0, x0[1], sum1);
            sum0 = smlad(left1, x1[0], sum0);
            sum1 = smlabt(left1, x1[0], sum1);
            sum0 = smlabt(x1[1], right1, sum0);
            sum1 = smlad(right1, x1[1], sum1);
            sum0 = smlad(left2, x2[0], sum0);
            sum1 = smlabt(left2, x2[0], sum1);
            sum0 = smlabt(x2[1], right2, sum0);
            sum1 = smlad(right2, x2[1], sum1);
            x0++;
            x1++;
            x2++;
            to[0] = sum0;
            to[1] = sum1;
            to += 2;
        } while (to < end);
    }
}

/* Up to 2 * pairs - 1 taps in a row, stride 1 or 2 from left to right: two outputs at a time, with
 * `table` for the weights in pairs: of each row of taps those for the first output, then for the
 * second, which at stride 1 begins in the middle of a pair. */
static inline __attribute__((always_inline)) void
sums_of_pairs(const qlinear_conv_shape *s, int32_t pairs, int32_t stride, const int8_t *w,
              int32_t bias, const int16_t *from, int32_t rows, int16_pair *table, int32_t *sums)
{
    const int32_t pitch = widened_pitch(s) / 2; /* in pairs */
    int16_t *filled = (int16_t *)(void *)table;

    memset(table, 0, (size_t)(s->kernel_height * 2 * pairs) * sizeof *table);
    for (int32_t kh = 0; kh < s->kernel_height; kh++, filled += 4 * pairs) {
        for (int32_t kw = 0; kw < s->kernel_width; kw++) {
            filled[kw] = *w;
            filled[2 * pairs + kw + (stride == 1)] = *w++;
        }
    }
    for (; rows > 0; rows--, from += s->stride_height * 2 * pitch, sums += s->out_width) {
        const int16_pair *x = (const int16_pair *)(const void *)from;
        for (int32_t ow = 0; ow < s->out_width; ow += 2, x += stride) {
            const int16_pair *x_row = x, *weights = table;
            int32_t sum0 = bias, sum1 = bias;
            for (int32_t kh = 0; kh < s->kernel_height; kh++) {
                for (int32_t i = 0; i < pairs; i++) {
                    sum0 = smlad(weights[i], x_row[i], sum0);
                    sum1 = smlad(weights[pairs + i], x_row[i + stride - 1], sum1);
                }
                weights += 2 * pairs;
                x_row += s->dilation_height * pitch;
            }
            sums[ow] = sum0;
            sums[ow + 1] = sum1;
        }
    }
}

static __attribute__((noinline, unused)) void
sums_of_pairs_at_1(const qlinear_conv_shape *s, const int8_t *w, int32_t bias, const int16_t *from,
                   int32_t rows, int16_pair *table, int32_t *sums)
{
    switch (pairs_in_row(s)) {
    case 2: sums_of_pairs(s, 2, 1, w, bias, from, rows, table, sums); break;
    case 3: sums_of_pairs(s, 3, 1, w, bias, from, rows, table, sums); break;
    default: sums_of_pairs(s, 4, 1, w, bias, from, rows, table, sums); break;
    }
}

static __attribute__((noinline, unused)) void
sums_of_pairs_at_2(const qlinear_conv_shape *s, const int8_t *w, int32_t bias, const int16_t *from,
                   int32_t rows, int16_pair *table, int32_t *sums)
{
    switch (pairs_in_row(s)) {
    case 2: sums_of_pairs(s, 2, 2, w, bias, from, rows, table, sums); break;
    case 3: sums_of_pairs(s, 3, 2, w, bias, from, rows, table, sums); break;
    default: sums_of_pairs(s, 4, 2, w, bias, from, rows, table, sums); break;
    }
}

/* Any window. */
static __attribute__((noinline, unused)) void
sums_of_any(const qlinear_conv_shape *s, const int8_t *w, int32_t bias, const int16_t *from,
            int32_t rows, int32_t *sums)
{
    const int32_t pitch = widened_pitch(s);

    for (; rows > 0; rows--, from += s->stride_height * pitch) {
        for (int32_t ow = 0; ow < s->out_width; ow++) {
            const int16_t *x = from + ow * s->stride_width;
            const int8_t *weight = w;
            int32_t sum = bias;
            for (int32_t kh = 0; kh < s->kernel_height; kh++, x += s->dilation_height * pitch) {
                for (int32_t kw = 0; kw < s->kernel_width; kw++) {
                    sum += *weight++ * x[kw * s->dilation_width];
                }
            }
            *sums++ = sum;
        }
    }
}

static inline void sums_of_strip(const qlinear_conv_shape *s, const int8_t *w, int32_t bias,
                                 const int16_t *from, int32_t rows, int16_pair *table,
                                 int32_t *sums)
{
    const bool near = s->dilation_width == 1 && s->kernel_width <= 7;

    if (near && s->stride_width == 1 && s->kernel_height == 3 && s->kernel_width == 3) {
        sums_of_3x3(s, w, bias, from, rows, sums);
    } else if (near && s->stride_width == 1) {
        sums_of_pairs_at_1(s, w, bias, from, rows, table, sums);
    } else if (near && s->stride_width == 2) {
        sums_of_pairs_at_2(s, w, bias, from, rows, table, sums);
    } else {
        sums_of_any(s, w, bias, from, rows, sums);
    }
}

/// Layer ///

/* `memory` holds the weights in pairs, the sums of `strip_rows` rows of outputs and one more, and the
 * rows of x under them, widened. */
static __attribute__((noinline, unused)) void
qlinear_depthwise_i8(const qlinear_conv_shape *s, int32_t x_rows, int32_t y_rows, int32_t first,
                     int32_t end, int32_t x_zero_point, const output_i8 *output, const int8_t *x,
                     const int8_t *w, const int32_t *b, const float *multiplier,
                     const int16_t *delta, const int8_t *rest, const uint16_t *out_order,
                     const uint16_t *in_order, int8_t *y, uint8_t *mask, int16_t *memory,
                     int32_t strip_rows)
{
    const conv_outputs o = outputs_of(output, b, multiplier, delta, out_order, y,
                                      y_rows * s->out_width, mask, s->out_height * s->out_width);
    const int32_t pitch = widened_pitch(s);
    int16_pair *table = (int16_pair *)(void *)memory;
    int32_t *sums = (int32_t *)(void *)(table + s->kernel_height * 2 * pairs_in_row(s));
    int16_t *rows = (int16_t *)(void *)(sums + strip_rows * s->out_width + 1);

    (void)in_order; /* a column is the channel itself */
    memset(rows, 0, (size_t)(rows_under(s, strip_rows) * pitch) * sizeof *rows);
    for (int32_t i = 0; i < s->out_channels && first < end; i++) {
        const conv_filter f = filter_at(s, i, w, rest, out_order);
        const channel_output of = channel_output_of(&o, f.channel);
        const int8_t *map = x + f.channel * x_rows * s->in_width;
        int32_t top = first * s->stride_height - s->pad_top; /* the map's row that `rows` begins with */
        int32_t widened = top;                               /* and the one that it ends before */

        for (int32_t oh = first; oh < end;) {
            const int32_t y_row = held_row(oh, y_rows, s->out_height);
            const int32_t left = end - oh < y_rows - y_row ? end - oh : y_rows - y_row;
            const int32_t count = left < strip_rows ? left : strip_rows;
            const int32_t next = oh * s->stride_height - s->pad_top;

            if (widened > next) {
                memmove(rows, rows + (next - top) * pitch,
                        (size_t)((widened - next) * pitch) * sizeof *rows);
            } else {
                widened = next;
            }
            top = next;
            widen_rows(s, map, x_rows, widened, top + rows_under(s, count), x_zero_point,
                       rows + (widened - top) * pitch);
            widened = top + rows_under(s, count);
            sums_of_strip(s, f.w, of.bias, rows, count, table, sums);
            put_row(&o, &of, sums, count * s->out_width, f.channel, y_row * s->out_width,
                    oh * s->out_width);
            oh += count;
        }
    }
}

#endif
