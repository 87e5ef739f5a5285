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
 * x and y may be buffers of `x_rows` and `y_rows` rows of each channel (rows.h). y may be x itself where
 * each window is the pixel at its own place, the map is one row and y has no more channels than x: an
 * output's inputs are gathered before it is written, and are then read no more.
 *
 * The inputs of two neighbouring outputs are gathered once, in `columns`, for all filters. These
 * functions are for layers of every shape: what is done for each product is in dot_i8.h.
 */
#ifndef TINYODL_QLINEAR_CONV_I8_H
#define TINYODL_QLINEAR_CONV_I8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "dot_i8.h"
#include "qlinear_columns_i8.h"
#include "qlinear_conv_shape.h"
#include "qlinear_depthwise_i8.h"
#include "qlinear_outputs_i8.h"
#include "rows.h"

/* Filters first to end - 1 of a layer. Of each, k weights lie in w, and k_rest in rest. */
typedef struct {
    const int8_t *w, *rest;
    int32_t k, k_rest;
    int32_t first, end;
} conv_filters;

#if DOT_DSP && QUANTIZE_FPU
#define PUT_PAIRS 1

/* What `put_pairs_of_filters` reads, in this order. `fours` is the number of fours in a column,
 * modulo 4. */
typedef struct {
    const int8_t *w;
    const int16_t *columns, *end;
    uint32_t k, fours;
    const int32_t *b;
    const float *multiplier;
    int8_t *y;
    int32_t y_map, zero_point, pairs;
} filter_pairs;

/* Two neighbouring outputs of each of `pairs` pairs of filters, where there is no delta, order or
 * mask, y may be all of int8, and k is at least 4.
 *
 * The sums take all registers of the core, so what is kept from one pair to the next is in those of
 * the FPU: s0 columns, s1 end, s2 k, s3 fours, s4 b, s5 multiplier, s6 y, s7 y_map, s8 zero_point,
 * s9 pairs. Compilers would spill it, which takes half as many instructions again with k = 64. */
#define PUT_PAIRS_OF_FILTERS(last_weights)                                                          \
    __asm__ volatile(                                                                               \
        "ldr    r2, [r0], #4\n\t"                                                                   \
        "vldm   r0, {s0-s9}\n"                                                                      \
        "1:\n\t"                                                                                    \
        "mov    r1, r2\n\t" /* the first filter's weights */                                        \
        "vmov   r0, s4\n\t"                                                                         \
        "ldrd   r8, r10, [r0], #8\n\t"                                                              \
        "vmov   s4, r0\n\t"                                                                         \
        "vmov   r2, r12, s2, s3\n\t"                                                                \
        "vmov   r0, r3, s0, s1\n\t"                                                                 \
        "mov    r9, r8\n\t"                                                                         \
        "mov    r11, r10\n\t"                                                                       \
        "add    r2, r1, r2\n\t" DOT_2X2 last_weights /* leaves the next filter's in r2 */           \
        "vmov   r0, s5\n\t"                                                                         \
        "vmov   s10, s11, r8, r9\n\t"                                                               \
        "vmov   s12, s13, r10, r11\n\t"                                                             \
        "vldm   r0!, {s14, s15}\n\t"                                                                \
        "vcvt.f32.s32 s10, s10\n\t"                                                                 \
        "vcvt.f32.s32 s11, s11\n\t"                                                                 \
        "vcvt.f32.s32 s12, s12\n\t"                                                                 \
        "vcvt.f32.s32 s13, s13\n\t"                                                                 \
        "vmul.f32 s10, s10, s14\n\t"                                                                \
        "vmul.f32 s11, s11, s14\n\t"                                                                \
        "vmul.f32 s12, s12, s15\n\t"                                                                \
        "vmul.f32 s13, s13, s15\n\t"                                                                \
        "vcvtr.s32.f32 s10, s10\n\t"                                                                \
        "vcvtr.s32.f32 s11, s11\n\t"                                                                \
        "vcvtr.s32.f32 s12, s12\n\t"                                                                \
        "vcvtr.s32.f32 s13, s13\n\t"                                                                \
        "vmov   s5, r0\n\t"                                                                         \
        "vmov   r8, r9, s10, s11\n\t"                                                               \
        "vmov   r10, r11, s12, s13\n\t"                                                             \
        "vmov   r0, r3, s6, s7\n\t"                                                                 \
        "vmov   r4, r5, s8, s9\n\t"                                                                 \
        "qadd   r8, r8, r4\n\t"                                                                     \
        "qadd   r9, r9, r4\n\t"                                                                     \
        "qadd   r10, r10, r4\n\t"                                                                   \
        "qadd   r11, r11, r4\n\t"                                                                   \
        "ssat   r8, #8, r8\n\t"                                                                     \
        "ssat   r9, #8, r9\n\t"                                                                     \
        "ssat   r10, #8, r10\n\t"                                                                   \
        "ssat   r11, #8, r11\n\t"                                                                   \
        "strb   r9, [r0, #1]\n\t"                                                                   \
        "strb   r8, [r0]\n\t"                                                                       \
        "add    r0, r0, r3\n\t"                                                                     \
        "strb   r11, [r0, #1]\n\t"                                                                  \
        "strb   r10, [r0]\n\t"                                                                      \
        "add    r0, r0, r3\n\t"                                                                     \
        "subs   r5, r5, #1\n\t"                                                                     \
        "vmov   s6, r0\n\t"                                                                         \
        "vmov   s9, r5\n\t"                                                                         \
        "bne    1b"                                                                                 \
        : "+r"(given)                                                                               \
        :                                                                                           \
        : "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "s0",    \
          "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14",  \
          "s15", "cc", "memory")                                                                   

/* The last k & 3 weights of each filter: of the word that ends with them the others are shifted out. */
#define DOT_2X2_LAST                                                                               \
    "vmov   r3, s2\n\t"                                                                            \
    "and    r3, r3, #3\n\t"                                                                        \
    "ldm    r0, {r4, r5, r6, r7}\n\t"                                                              \
    "add    r1, r1, r3\n\t"                                                                        \
    "add    r2, r2, r3\n\t"                                                                        \
    "rsb    r3, r3, #4\n\t"                                                                        \
    "lsl    r3, r3, #3\n\t"                                                                        \
    "ldr    r12, [r1, #-4]\n\t"                                                                    \
    "lsr    r12, r12, r3\n\t" DOT_FOUR("r8", "r9")                                                 \
    "ldr    r12, [r2, #-4]\n\t"                                                                    \
    "lsr    r12, r12, r3\n\t" DOT_FOUR("r10", "r11")

static __attribute__((noinline, unused)) void put_pairs_of_filters(const filter_pairs *of)
{
    register const void *given __asm__("r0") = of;

    if (of->k & 3) {
        PUT_PAIRS_OF_FILTERS(DOT_2X2_LAST);
    } else {
        PUT_PAIRS_OF_FILTERS("");
    }
}
#else
#define PUT_PAIRS 0
#endif

/* Two outputs of each filter, the first of which is element `place` of its channel's map in y, and
 * `mask_place` in the mask. */
static __attribute__((noinline, unused)) void
put_two_columns(const conv_filters *f, const conv_outputs *o, const int16_t *columns, int32_t place,
                int32_t mask_place, int32_t step)
{
    const int8_t *w = f->w, *rest = f->rest;

    for (int32_t i = f->first; i < f->end; i += 2) {
        const bool two = i + 1 < f->end; /* or one filter twice */
        const int32_t m0 = o->order ? o->order[i] : i;
        const int32_t m1 = two ? (o->order ? o->order[i + 1] : i + 1) : m0;
        const channel_output of0 = channel_output_of(o, m0);
        const channel_output of1 = channel_output_of(o, m1);
        const int8_t *w1 = two ? w + f->k : w;
        int32_t sums[4] = {of0.bias, of0.bias, of1.bias, of1.bias};
        const int16_t *behind = dot_2x2(w, w1, columns, f->k, sums);

        w = w1 + f->k;
        if (f->k_rest > 0) {
            const int8_t *rest1 = two ? rest + f->k_rest : rest;
            dot_2x2(rest, rest1, behind, f->k_rest, sums);
            rest = rest1 + f->k_rest;
        }
        put_two(o, &of0, sums[0], sums[1], m0, place, mask_place, step);
        put_two(o, &of1, sums[2], sums[3], m1, place, mask_place, step);
    }
}

/* The one output of each filter, where there is only one. */
static __attribute__((noinline, unused)) void put_one_column(const conv_filters *f,
                                                             const conv_outputs *o,
                                                             const int16_t *column,
                                                             const int16_t *behind)
{
    enum { BATCH = 24 };
    const int8_t *w = f->w, *rest = f->rest;

    for (int32_t i = f->first, count; i < f->end; i += count) {
        int32_t sums[BATCH];
        count = f->end - i < BATCH ? f->end - i : BATCH;
        for (int32_t j = 0; j < count; j++) {
            sums[j] = o->b ? o->b[o->order ? o->order[i + j] : i + j] : 0;
        }
        dots_of_filters(w, count, column, f->k, sums);
        w += count * f->k;
        if (f->k_rest > 0) {
            dots_of_filters(rest, count, behind, f->k_rest, sums);
            rest += count * f->k_rest;
        }
        put_one_of_each(o, sums, i, count);
    }
}

/* The filters from `first` to end - 1 of a layer, which lie in w, then in rest. */
static inline void put_run_of_filters(const qlinear_conv_shape *s, const conv_outputs *o,
                                      const int8_t *w, const int8_t *rest, int32_t first,
                                      int32_t end, const int16_t *columns, int32_t place,
                                      int32_t mask_place, int32_t step)
{
    const int32_t taps = s->kernel_height * s->kernel_width;
    const int32_t k = s->columns * taps, k_rest = s->in_channels / s->groups * taps - k;
    const int32_t middle = end < s->filters ? end : s->filters;

    if (first < middle) {
        const conv_filters of = {w + first * k, k_rest ? rest + first * k_rest : NULL, k, k_rest,
                                 first, middle};
        put_two_columns(&of, o, columns, place, mask_place, step);
        first = middle;
    }
    if (first < end) {
        const conv_filters of = {rest + (first - s->filters) * k, NULL, k, 0, first, end};
        put_two_columns(&of, o, columns, place, mask_place, step);
    }
}

/* The filters of a group after the first `done`, once the columns are there. */
static __attribute__((noinline, unused)) void
put_filters_of_group(const qlinear_conv_shape *s, const conv_outputs *o, int32_t group,
                     int32_t done, const int8_t *w, const int8_t *rest, const int16_t *columns,
                     int32_t place, int32_t mask_place, int32_t step)
{
    const int32_t filters = s->out_channels / s->groups;

    if (s->groups == 1 || !o->order) {
        put_run_of_filters(s, o, w, rest, group * filters + done, (group + 1) * filters, columns,
                           place, mask_place, step);
        return;
    }
    for (int32_t i = 0; i < s->out_channels; i++) {
        if (o->order[i] / filters == group) {
            put_run_of_filters(s, o, w, rest, i, i + 1, columns, place, mask_place, step);
        }
    }
}

/* The columns of two outputs, for a run of channels; `x` is the row of the pixels, or all. */
static inline __attribute__((always_inline)) int16_t *
columns_of_run(const qlinear_conv_shape *s, bool pixels, const int8_t *x, int32_t x_rows,
               window_place at, int32_t step, const channel_run *run, int32_t zero_point,
               int16_t *columns)
{
    if (pixels) {
        return columns_of_pixels(x + at.left, x_rows * s->in_width, step * s->stride_width, run,
                                 zero_point, columns);
    }
    return columns_of_windows(s, x, x_rows, at, step * s->stride_width, run, zero_point, columns);
}

/* The outputs at pixel `at` of a map with one row; their inputs are at the same pixel. */
static __attribute__((noinline, unused)) void
put_pixel(const qlinear_conv_shape *s, const conv_outputs *o, const int8_t *x, int32_t x_map,
          const channel_run *learning, const channel_run *others, int32_t x_zero_point,
          const int8_t *w, const int8_t *rest, int16_t *columns, int32_t at)
{
    for (int32_t g = 0; g < s->groups; g++) {
        const int8_t *pixel = x + g * (s->in_channels / s->groups) * x_map + at;
        int16_t *behind = columns_of_pixels(pixel, x_map, 0, learning, x_zero_point, columns);
        columns_of_pixels(pixel, x_map, 0, others, x_zero_point, behind);
        put_filters_of_group(s, o, g, 0, w, rest, columns, at, at, 0);
    }
}

/* `columns` has the memory for two columns, and for the windows before they are columns: see
 * `columns_of_windows`. */
static __attribute__((noinline, unused)) void
qlinear_conv_i8(const qlinear_conv_shape *s, int32_t x_rows, int32_t y_rows, int32_t first,
                int32_t end, int32_t x_zero_point, const output_i8 *output, const int8_t *x,
                const int8_t *w, const int32_t *b, const float *multiplier, const int16_t *delta,
                const int8_t *rest, const uint16_t *out_order, const uint16_t *in_order, int8_t *y,
                uint8_t *mask, int16_t *columns)
{
    const conv_outputs o =
        outputs_of(output, b, multiplier, delta, out_order, y, y_rows * s->out_width, mask,
                   s->out_height * s->out_width);
    const int32_t in_group = s->in_channels / s->groups, x_map = x_rows * s->in_width;
    const channel_run learning = {in_order, 0, s->columns};
    const channel_run others = {in_order, s->columns, in_group};
    const int32_t step = s->out_width > 1, last = s->out_width - 1 - step;
    const bool alone = y == x && s->out_width % 2; /* the last output, lest an input is read again */
    const int32_t in_twos = s->out_width - alone;
    const bool pixels = windows_are_pixels(s);
#if PUT_PAIRS
    const int32_t k = in_group * s->kernel_height * s->kernel_width;
    const bool plain = are_plain(&o) && !rest && s->groups == 1 && step && k >= 4;
    const int32_t pairs = plain ? s->out_channels / 2 : 0;
    filter_pairs in_pairs = {
        .w = w,
        .columns = columns,
        .end = columns + (k & ~3) * 2,
        .k = (uint32_t)k,
        .fours = (uint32_t)k / 4 & 3,
        .b = b,
        .multiplier = multiplier,
        .y_map = o.y_map,
        .zero_point = o.zero_point,
        .pairs = pairs,
    };
#else
    const int32_t pairs = 0;
#endif

    for (int32_t oh = first; oh < end; oh++) {
        const int32_t y_row = held_row(oh, y_rows, s->out_height) * s->out_width;
        window_place at = {oh * s->stride_height - s->pad_top, 0};
        const int8_t *x_row =
            pixels ? x + held_row(at.top, x_rows, s->in_height) * s->in_width : x;
        for (int32_t ow = 0; ow < in_twos; ow += 2) {
            /* The last two of an odd number; or one output twice. */
            const int32_t column = ow < last ? ow : last;
            at.left = column * s->stride_width - s->pad_left;
            for (int32_t g = 0; g < s->groups; g++) {
                const int8_t *x_group = x_row + g * in_group * x_map;
                int16_t *behind = columns_of_run(s, pixels, x_group, x_rows, at, step, &learning,
                                                 x_zero_point, columns);
                if (others.first < others.end) {
                    columns_of_run(s, pixels, x_group, x_rows, at, step, &others, x_zero_point,
                                   behind);
                }
#if PUT_PAIRS
                if (pairs > 0) {
                    in_pairs.y = y + y_row + column;
                    put_pairs_of_filters(&in_pairs);
                }
#endif
                if (2 * pairs < s->out_channels) {
                    put_filters_of_group(s, &o, g, 2 * pairs, w, rest, columns, y_row + column,
                                         oh * s->out_width + column, step);
                }
            }
        }
    }
    if (alone) {
        put_pixel(s, &o, x, x_map, &learning, &others, x_zero_point, w, rest, columns, in_twos);
    }
}

/* A layer whose only window is all of x. `column` has the memory for one. */
static __attribute__((noinline, unused)) void
qlinear_dense_i8(const qlinear_conv_shape *s, int32_t x_rows, int32_t y_rows, int32_t first,
                 int32_t end, int32_t x_zero_point, const output_i8 *output, const int8_t *x,
                 const int8_t *w, const int32_t *b, const float *multiplier, const int16_t *delta,
                 const int8_t *rest, const uint16_t *out_order, const uint16_t *in_order, int8_t *y,
                 uint8_t *mask, int16_t *column)
{
    const conv_outputs o = outputs_of(output, b, multiplier, delta, out_order, y, y_rows, mask, 1);
    const int32_t taps = x_rows * s->in_width, k = s->columns * taps;
    const int32_t k_rest = s->in_channels * taps - k;

    if (first == end) {
        return;
    }
    const int16_t *behind =
        column_of_channels(x, taps, &(channel_run){in_order, 0, s->columns}, x_zero_point, column);
    column_of_channels(x, taps, &(channel_run){in_order, s->columns, s->in_channels}, x_zero_point,
                       (int16_t *)behind);
    put_one_column(&(conv_filters){w, rest, k, k_rest, 0, s->filters}, &o, column, behind);
    if (s->filters < s->out_channels) {
        put_one_column(&(conv_filters){rest, NULL, k, 0, s->filters, s->out_channels}, &o, column,
                       behind);
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
