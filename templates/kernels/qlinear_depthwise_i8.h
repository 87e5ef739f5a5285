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

/* to[0..3] = x[0..3] - zero_point */
static inline __attribute__((always_inline)) void widen_four(const int8_t *x, uint32_t minus_zero,
                                                             int16_t *to)
{
    const uint32_t four = load_word(x);
    const uint32_t even = plus_even_bytes(minus_zero, four);
    const uint32_t odd = plus_odd_bytes(minus_zero, four);
    store_word(to, low_halves(even, odd));
    store_word(to + 2, high_halves(even, odd));
}

/* `rows` rows of `count` elements, which are `width` apart in x and `pitch` in `to`. */
static __attribute__((noinline, unused)) void widen_inside(const int8_t *x, int32_t width,
                                                           int32_t count, int32_t rows,
                                                           uint32_t minus_zero, int16_t *to,
                                                           int32_t pitch)
{
    if (count < 4) {
        for (; rows > 0; rows--, x += width, to += pitch) {
            for (int32_t i = 0; i < count; i++) {
                to[i] = (int16_t)(x[i] + low_half(minus_zero));
            }
        }
        return;
    }
    const int32_t behind = pitch - count + 4;
    for (; rows > 0; rows--, x += width) {
        const int8_t *from = x, *last = x + count - 4;
        for (; from + 4 < last; from += 8, to += 8) {
            widen_four(from, minus_zero, to);
            widen_four(from + 4, minus_zero, to + 4);
        }
        if (from < last) {
            widen_four(from, minus_zero, to);
            from += 4;
            to += 4;
        }
        to -= from - last; /* the last four, of which some are made again */
        widen_four(last, minus_zero, to);
        to += behind;
    }
}

/* Some rows of outputs, and how the widened rows under them are had, in this order: `kept` from the
 * strip before, `above` of zeros, `count` from row `row` of x on, `more` from its first row on (it may
 * be a ring), and `below` of zeros. */
typedef struct {
    int32_t outputs;           /* of a channel */
    int32_t rows;              /* of them */
    int32_t y_place, mask_place; /* of the first */
    int32_t kept, kept_at;
    int32_t above, row, count, more, below;
} depthwise_strip;

/* The strip from output row `oh` on, of at most `rows`. In memory there are rows of the map from `top`
 * to done - 1. */
static inline depthwise_strip strip_from(const qlinear_conv_shape *s, int32_t x_rows, int32_t y_rows,
                                         int32_t oh, int32_t rows, int32_t top, int32_t done)
{
    const int32_t y_row = held_row(oh, y_rows, s->out_height);
    const int32_t next = oh * s->stride_height - s->pad_top;
    depthwise_strip of = {0};

    of.rows = rows < y_rows - y_row ? rows : y_rows - y_row;
    of.outputs = of.rows * s->out_width;
    of.y_place = y_row * s->out_width;
    of.mask_place = oh * s->out_width;
    of.kept = done > next ? done - next : 0;
    of.kept_at = next - top;

    const int32_t first = next + of.kept, end = next + rows_under(s, of.rows);
    const int32_t begin = first > 0 ? first : 0;
    const int32_t on_map = end < s->in_height ? end : s->in_height;
    of.above = end - first;
    if (begin < on_map) {
        of.above = begin - first;
        of.row = held_row(begin, x_rows, s->in_height);
        of.count = on_map - begin;
        of.below = end - on_map;
        if (of.count > x_rows - of.row) {
            of.more = of.count - (x_rows - of.row);
            of.count -= of.more;
        }
    }
    return of;
}

static inline int16_t *zero_rows(int16_t *to, int32_t rows, int32_t pitch)
{
    if (rows > 0) {
        memset(to, 0, (size_t)(rows * pitch) * sizeof *to);
        to += rows * pitch;
    }
    return to;
}

/* To a place before. */
static inline void move_words(int16_t *to, const int16_t *from, int32_t words)
{
    int16_pair *to_word = (int16_pair *)(void *)to;
    const int16_pair *from_word = (const int16_pair *)(const void *)from;

    if (to == from) {
        return;
    }
    for (; words >= 4; words -= 4, to_word += 4, from_word += 4) {
        const int16_pair a = from_word[0], b = from_word[1], c = from_word[2], d = from_word[3];
        to_word[0] = a;
        to_word[1] = b;
        to_word[2] = c;
        to_word[3] = d;
    }
    for (; words > 0; words--) {
        *to_word++ = *from_word++;
    }
}

/* The rows of a strip; `map` is that of a channel of x. */
static __attribute__((noinline, unused)) void widen_strip(const depthwise_strip *of,
                                                          const qlinear_conv_shape *s,
                                                          const int8_t *map, uint32_t minus_zero,
                                                          int16_t *to, int32_t pitch)
{
    const int32_t left = s->pad_left, width = s->in_width, room = pitch - left;
    const int32_t elements = room < width ? room : width;

    if (of->kept > 0) {
        move_words(to, to + of->kept_at * pitch, of->kept * pitch / 2);
        to += of->kept * pitch;
    }
    to = zero_rows(to, of->above, pitch);
    widen_inside(map + of->row * width, width, elements, of->count, minus_zero, to + left, pitch);
    if (of->more | of->below) {
        to += of->count * pitch;
        widen_inside(map, width, elements, of->more, minus_zero, to + left, pitch);
        zero_rows(to + of->more * pitch, of->below, pitch);
    }
}

/// Sums ///

/* How many pairs of weights a row of taps takes: one more than fit, for taps that begin in the middle
 * of one, and as many as there is a loop for. */
static inline int32_t pairs_in_row(const qlinear_conv_shape *s)
{
    return s->kernel_width <= 3 ? 2 : s->kernel_width <= 5 ? 3 : 4;
}

/* Each of these makes the sums of `rows` rows of outputs, one behind the other, and perhaps one more,
 * which means nothing. `x` is the widened row under the first taps. */

/* What a window's rows are found by: bytes from one row of taps to the next, and to those of the next
 * row of outputs. */
static inline int32_t tap_step(const qlinear_conv_shape *s)
{
    return s->dilation_height * widened_pitch(s) * (int32_t)sizeof(int16_t);
}

static inline int32_t output_step(const qlinear_conv_shape *s)
{
    return s->stride_height * widened_pitch(s) * (int32_t)sizeof(int16_t);
}

#if DOT_DSP
/* 3x3, two outputs at a time, with all weights in registers. `left` and `right` are the pairs of
 * weights of each row that the first output begins and ends with; at stride 1 the second output has
 * its taps in the middle of the inputs' pairs, and right is (w1, w2); at stride 2 it is (w2, 0).
 *
 * s0 bias, s1 end of the row's sums, s2 bytes of a row's sums, s3 from the end of a row of x to the
 * next, s4 rows, and at stride 2 s5 the sums. */
#define SUMS_OF_3X3(two_outputs)                                                                   \
    __asm__ volatile("vldm   r0!, {s0-s5}\n\t"                                                     \
                     "ldm    r0, {r1, r2, r3, r4, r5, r6, r7, r8, r9, r12}\n"                      \
                     "1:\n\t"                                                                      \
                     "vmov   lr, s0\n\t"                                                           \
                     "vmov   r0, s0\n\t" two_outputs                                               \
                     "blo    1b\n\t"                                                               \
                     "vmov   r0, s3\n\t"                                                           \
                     "add    r1, r1, r0\n\t"                                                       \
                     "add    r2, r2, r0\n\t"                                                       \
                     "add    r3, r3, r0\n\t"                                                       \
                     "vmov   r10, r11, s1, s2\n\t"                                                 \
                     "mov    r12, r10\n\t" /* not the sum behind the end */                        \
                     "vmov   s5, r10\n\t"                                                          \
                     "add    r10, r10, r11\n\t"                                                    \
                     "vmov   s1, r10\n\t"                                                          \
                     "vmov   r0, s4\n\t"                                                           \
                     "subs   r0, r0, #1\n\t"                                                       \
                     "vmov   s4, r0\n\t"                                                           \
                     "bne    1b"                                                                   \
                     : "+r"(given)                                                                 \
                     :                                                                             \
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12",  \
                       "lr", "s0", "s1", "s2", "s3", "s4", "s5", "cc", "memory")

#define TAPS_AT_1(x, left, right)                                                                  \
    "ldrd   r10, r11, [" x "], #4\n\t"                                                             \
    "smlad  lr, " left ", r10, lr\n\t"                                                             \
    "smlabt r0, " left ", r10, r0\n\t"                                                             \
    "smlabt lr, r11, " right ", lr\n\t"                                                            \
    "smlad  r0, " right ", r11, r0\n\t"

#define TAPS_AT_2(x, left, right)                                                                  \
    "ldrd   r10, r11, [" x "], #8\n\t"                                                             \
    "ldr    r12, [" x "]\n\t"                                                                      \
    "smlad  lr, " left ", r10, lr\n\t"                                                             \
    "smlad  r0, " left ", r11, r0\n\t"                                                             \
    "smlad  lr, " right ", r11, lr\n\t"                                                            \
    "smlad  r0, " right ", r12, r0\n\t"

typedef struct {
    int32_t bias;
    int32_t *end;
    int32_t row_bytes, x_step, rows;
    int32_t *sums;
    const int16_t *x0, *x1, *x2;
    uint32_t weights[6];
    int32_t *first_sums;
} sums_3x3;
#endif

/* Of the first three weights in a word: (w0, w1), and (w1, w2) or at stride 2 (w2, 0). */
static inline __attribute__((always_inline)) void pairs_of_three(uint32_t word, int32_t stride,
                                                                 uint32_t *pairs)
{
    const uint32_t even = even_bytes(word), odd = odd_bytes(word);
    pairs[0] = low_halves(even, odd);
    pairs[1] = stride == 1 ? low_halves(odd, even >> 16) : even >> 16;
}

static __attribute__((noinline, unused)) void
sums_of_3x3(const qlinear_conv_shape *s, const int8_t *w, int32_t bias, const int16_t *x,
            int32_t rows, int32_t *sums)
{
    const int32_t taps = tap_step(s) / 2, stride = s->stride_width;
    uint32_t pairs[6];

    pairs_of_three(load_word(w), stride, pairs);
    pairs_of_three(load_word(w + 3), stride, pairs + 2);
    pairs_of_three(load_word(w + 5) >> 8, stride, pairs + 4);
#if DOT_DSP
    const int32_t x_bytes = (s->out_width + 1) / 2 * 4 * stride; /* that a row moves on */
    const sums_3x3 of = {
        .bias = bias,
        .end = sums + s->out_width,
        .row_bytes = s->out_width * 4,
        .x_step = output_step(s) - x_bytes,
        .rows = rows,
        .sums = sums,
        .x0 = x,
        .x1 = x + taps,
        .x2 = x + 2 * taps,
        .weights = {pairs[0], pairs[1], pairs[2], pairs[3], pairs[4], pairs[5]},
        .first_sums = sums,
    };
    register const void *given __asm__("r0") = &of;

    if (stride == 1) {
        SUMS_OF_3X3(TAPS_AT_1("r1", "r4", "r5") TAPS_AT_1("r2", "r6", "r7")
                        TAPS_AT_1("r3", "r8", "r9") "vmov   r10, s1\n\t"
                                                    "strd   lr, r0, [r12], #8\n\t"
                                                    "cmp    r12, r10\n\t");
    } else {
        SUMS_OF_3X3(TAPS_AT_2("r1", "r4", "r5") TAPS_AT_2("r2", "r6", "r7")
                        TAPS_AT_2("r3", "r8", "r9") "vmov   r12, s5\n\t"
                                                    "vmov   r10, s1\n\t"
                                                    "strd   lr, r0, [r12], #8\n\t"
                                                    "vmov   s5, r12\n\t"
                                                    "cmp    r12, r10\n\t");
    }
#else
    for (; rows > 0; rows--, x += output_step(s) / 2, sums += s->out_width) {
        for (int32_t ow = 0; ow < s->out_width; ow += 2) {
            int32_t sum0 = bias, sum1 = bias;
            for (int32_t kh = 0; kh < 3; kh++) {
                const int16_t *row = x + kh * taps + ow * stride;
                const int16_pair *at = (const int16_pair *)(const void *)row;
                const uint32_t left = pairs[2 * kh], right = pairs[2 * kh + 1];
                if (stride == 1) {
                    sum0 = smlabt(at[1], right, smlad(left, at[0], sum0));
                    sum1 = smlad(right, at[1], smlabt(left, at[0], sum1));
                } else {
                    sum0 = smlad(right, at[1], smlad(left, at[0], sum0));
                    sum1 = smlad(right, at[2], smlad(left, at[1], sum1));
                }
            }
            sums[ow] = sum0;
            sums[ow + 1] = sum1;
        }
    }
#endif
}

/* Up to 2 * pairs - 1 taps in a row, stride 1 or 2 from left to right, for one row of outputs, two at a
 * time. In `table` are the weights in pairs: of each row of taps those for the first output, and at
 * stride 1 those for the second, whose taps begin in the middle of a pair. */
#if DOT_DSP
typedef struct {
    int32_t bias;
    const int16_t *x;
    int32_t x_step;
    const int16_pair *table;
    int32_t kernel_height;
    int32_t *sums, *end;
    int32_t tap_step;
} sums_of_row;

/* In r0 is x, in r1 the table, in r3 the bytes from one row of taps to the next. */
#define SUMS_IN_PAIRS(row_of_taps)                                                                 \
    __asm__ volatile("vldm   r0!, {s0-s6}\n\t"                                                     \
                     "ldr    r3, [r0]\n"                                                           \
                     "1:\n\t"                                                                      \
                     "vmov   r0, r4, s1, s2\n\t"                                                   \
                     "vmov   r1, r2, s3, s4\n\t"                                                   \
                     "add    r4, r0, r4\n\t"                                                       \
                     "vmov   s1, r4\n\t"                                                           \
                     "vmov   lr, s0\n\t"                                                           \
                     "vmov   r12, s0\n"                                                            \
                     "2:\n\t" row_of_taps                                                          \
                     "subs   r2, r2, #1\n\t"                                                       \
                     "bne    2b\n\t"                                                               \
                     "vmov   r4, r5, s5, s6\n\t"                                                   \
                     "strd   lr, r12, [r4], #8\n\t"                                                \
                     "cmp    r4, r5\n\t"                                                           \
                     "vmov   s5, r4\n\t"                                                           \
                     "blo    1b"                                                                   \
                     : "+r"(given)                                                                 \
                     :                                                                             \
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12",  \
                       "lr", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "cc", "memory")

#define TWO_SUMS(first, second, weights)                                                           \
    "smlad  lr, " weights ", " first ", lr\n\t"                                                    \
    "smlad  r12, " weights ", " second ", r12\n\t"

#define ONE_SUM(sum, x, weights) "smlad  " sum ", " weights ", " x ", " sum "\n\t"

static inline __attribute__((always_inline)) void sums_of_row_in_pairs(const sums_of_row *of,
                                                                       int32_t pairs,
                                                                       int32_t stride)
{
    register const void *given __asm__("r0") = of;

    switch (2 * pairs + stride) {
    case 5:
        SUMS_IN_PAIRS("ldm    r0, {r4, r5}\n\t"
                      "ldm    r1!, {r6, r7, r8, r9}\n\t"
                      "add    r0, r0, r3\n\t"
                      ONE_SUM("lr", "r4", "r6") ONE_SUM("r12", "r4", "r8")
                      ONE_SUM("lr", "r5", "r7") ONE_SUM("r12", "r5", "r9"));
        break;
    case 6:
        SUMS_IN_PAIRS("ldm    r0, {r4, r5, r6}\n\t"
                      "ldm    r1!, {r8, r9}\n\t"
                      "add    r0, r0, r3\n\t"
                      TWO_SUMS("r4", "r5", "r8") TWO_SUMS("r5", "r6", "r9"));
        break;
    case 7:
        SUMS_IN_PAIRS("ldm    r0, {r4, r5, r6}\n\t"
                      "ldm    r1!, {r7, r8, r9}\n\t"
                      "add    r0, r0, r3\n\t"
                      ONE_SUM("lr", "r4", "r7") ONE_SUM("lr", "r5", "r8")
                      ONE_SUM("lr", "r6", "r9")
                      "ldm    r1!, {r7, r8, r9}\n\t"
                      ONE_SUM("r12", "r4", "r7") ONE_SUM("r12", "r5", "r8")
                      ONE_SUM("r12", "r6", "r9"));
        break;
    case 8:
        SUMS_IN_PAIRS("ldm    r0, {r4, r5, r6, r7}\n\t"
                      "ldm    r1!, {r8, r9, r10}\n\t"
                      "add    r0, r0, r3\n\t"
                      TWO_SUMS("r4", "r5", "r8") TWO_SUMS("r5", "r6", "r9")
                      TWO_SUMS("r6", "r7", "r10"));
        break;
    case 9:
        SUMS_IN_PAIRS("ldm    r0, {r4, r5, r6, r7}\n\t"
                      "ldm    r1!, {r8, r9, r10, r11}\n\t"
                      "add    r0, r0, r3\n\t"
                      ONE_SUM("lr", "r4", "r8") ONE_SUM("lr", "r5", "r9")
                      ONE_SUM("lr", "r6", "r10") ONE_SUM("lr", "r7", "r11")
                      "ldm    r1!, {r8, r9, r10, r11}\n\t"
                      ONE_SUM("r12", "r4", "r8") ONE_SUM("r12", "r5", "r9")
                      ONE_SUM("r12", "r6", "r10") ONE_SUM("r12", "r7", "r11"));
        break;
    default:
        SUMS_IN_PAIRS("ldm    r0, {r4, r5, r6, r7}\n\t"
                      "ldm    r1!, {r8, r9, r10, r11}\n\t"
                      TWO_SUMS("r4", "r5", "r8") TWO_SUMS("r5", "r6", "r9")
                      "ldr    r4, [r0, #16]\n\t"
                      "add    r0, r0, r3\n\t"
                      TWO_SUMS("r6", "r7", "r10") TWO_SUMS("r7", "r4", "r11"));
        break;
    }
}
#endif

/* Of windows up to 7 wide at stride 1 or 2. */
static __attribute__((noinline, unused)) void
sums_in_pairs(const qlinear_conv_shape *s, const int8_t *w, int32_t bias, const int16_t *x,
              int32_t rows, int16_pair *table, int32_t *sums)
{
    const int32_t pairs = pairs_in_row(s), stride = s->stride_width;
    int16_t *filled = (int16_t *)(void *)table;

    memset(table, 0, (size_t)(s->kernel_height * 2 * pairs) * sizeof *table);
    for (int32_t kh = 0; kh < s->kernel_height; kh++) {
        for (int32_t kw = 0; kw < s->kernel_width; kw++) {
            filled[kw] = *w;
            if (stride == 1) {
                filled[2 * pairs + kw + 1] = *w;
            }
            w++;
        }
        filled += (stride == 1 ? 4 : 2) * pairs;
    }
    for (; rows > 0; rows--, x += output_step(s) / 2, sums += s->out_width) {
#if DOT_DSP
        sums_of_row_in_pairs(
            &(sums_of_row){
                .bias = bias,
                .x = x,
                .x_step = 4 * stride,
                .table = table,
                .kernel_height = s->kernel_height,
                .sums = sums,
                .end = sums + s->out_width,
                .tap_step = tap_step(s),
            },
            pairs, stride);
#else
        for (int32_t ow = 0; ow < s->out_width; ow += 2) {
            const int16_pair *at = (const int16_pair *)(const void *)(x + ow * stride);
            const int16_pair *weights = table;
            int32_t sum0 = bias, sum1 = bias;
            for (int32_t kh = 0; kh < s->kernel_height; kh++, at += tap_step(s) / 4) {
                for (int32_t i = 0; i < pairs; i++) {
                    sum0 = smlad(weights[i], at[i], sum0);
                }
                weights += stride == 1 ? pairs : 0;
                for (int32_t i = 0; i < pairs; i++) {
                    sum1 = smlad(weights[i], at[i + stride - 1], sum1);
                }
                weights += pairs;
            }
            sums[ow] = sum0;
            sums[ow + 1] = sum1;
        }
#endif
    }
}

/* Any window. */
static __attribute__((noinline, unused)) void
sums_of_any_windows(const qlinear_conv_shape *s, const int8_t *w, int32_t bias, const int16_t *x,
                    int32_t rows, int32_t *sums)
{
    for (; rows > 0; rows--, x += output_step(s) / 2) {
        for (int32_t ow = 0; ow < s->out_width; ow++) {
            const int16_t *at = x + ow * s->stride_width;
            const int8_t *weight = w;
            int32_t sum = bias;
            for (int32_t kh = 0; kh < s->kernel_height; kh++, at += tap_step(s) / 2) {
                for (int32_t kw = 0; kw < s->kernel_width; kw++) {
                    sum += *weight++ * at[kw * s->dilation_width];
                }
            }
            *sums++ = sum;
        }
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
    int16_pair *table = (int16_pair *)(void *)memory;
    int32_t *sums = (int32_t *)(void *)(table + s->kernel_height * 2 * pairs_in_row(s));
    int16_t *rows = (int16_t *)(void *)(sums + strip_rows * s->out_width + 1);
    const int32_t pitch = widened_pitch(s), x_map = x_rows * s->in_width;
    const uint32_t minus_zero = minus_zero_point(x_zero_point);
    const bool near = s->dilation_width == 1 && s->kernel_width <= 7 && s->stride_width <= 2;
    const bool is_3x3 = near && s->kernel_height == 3 && s->kernel_width == 3;
    const int32_t top = first * s->stride_height - s->pad_top;
    depthwise_strip strip = {.rows = 0};

    (void)in_order; /* a column is the channel itself */
    memset(rows, 0, (size_t)(rows_under(s, strip_rows) * pitch) * sizeof *rows);
    for (int32_t i = 0; i < s->out_channels && first < end; i++) {
        const conv_filter f = filter_at(s, i, w, rest, out_order);
        const channel_output of = channel_output_of(&o, f.channel);
        int32_t held_from = top, held_end = top; /* the rows of the map that are in memory */

        for (int32_t oh = first; oh < end; oh += strip.rows) {
            if (strip.rows < end - first) { /* else it is that of the channel before */
                const int32_t left = end - oh;
                strip = strip_from(s, x_rows, y_rows, oh, left < strip_rows ? left : strip_rows,
                                   held_from, held_end);
                held_from = oh * s->stride_height - s->pad_top;
                held_end = held_from + rows_under(s, strip.rows);
            }
            widen_strip(&strip, s, x + f.channel * x_map, minus_zero, rows, pitch);
            if (is_3x3) {
                sums_of_3x3(s, f.w, of.bias, rows, strip.rows, sums);
            } else if (near) {
                sums_in_pairs(s, f.w, of.bias, rows, strip.rows, table, sums);
            } else {
                sums_of_any_windows(s, f.w, of.bias, rows, strip.rows, sums);
            }
            put_row(&o, &of, sums, strip.outputs, f.channel, strip.y_place, strip.mask_place);
        }
    }
}

#endif
