/* What turns sums into int8 outputs of a convolution, of one channel after the other.
 *
 * b           int32 (channels), or NULL
 * multiplier  (channels)
 * delta       int16 (channels), or NULL: learned change of the bias, in 1/256 of a step of y
 *
 *   v = (b[m] + sum) * multiplier[m] + delta[m] / 256
 *   y = clamp(round(v) + zero_point)
 */
#ifndef TINYODL_QLINEAR_OUTPUTS_I8_H
#define TINYODL_QLINEAR_OUTPUTS_I8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quantize.h"

/* `order`, unless it is NULL, gives the channel that each filter makes. Of an output channel `y_map`
 * elements lie in y, and the mask has bits for `mask_map`. */
typedef struct {
    const int32_t *b;
    const float *multiplier;
    const int16_t *delta;
    const uint16_t *order;
    int32_t zero_point, low, high;
    float pass_low, pass_high;
    int8_t *y;
    uint8_t *mask;
    int32_t y_map, mask_map;
} conv_outputs;

static inline __attribute__((always_inline)) conv_outputs
outputs_of(const output_i8 *o, const int32_t *b, const float *multiplier, const int16_t *delta,
           const uint16_t *order, int8_t *y, int32_t y_map, uint8_t *mask, int32_t mask_map)
{
    return (conv_outputs){
        .b = b,
        .multiplier = multiplier,
        .delta = delta,
        .order = order,
        .zero_point = o->zero_point,
        .low = (int32_t)o->lowest + o->zero_point,
        .high = (int32_t)o->highest + o->zero_point,
        .pass_low = o->pass_low,
        .pass_high = o->pass_high,
        .y = y,
        .mask = mask,
        .y_map = y_map,
        .mask_map = mask_map,
    };
}

/* Whether a sum becomes an output by the multiplier and int8's range alone. */
static inline __attribute__((always_inline)) bool are_plain(const conv_outputs *o)
{
    return o->b && !o->delta && !o->order && !o->mask && o->low == INT8_MIN && o->high == INT8_MAX;
}

/* What the outputs of a channel have in common. */
typedef struct {
    int32_t bias;
    float multiplier, delta;
} channel_output;

static inline __attribute__((always_inline)) channel_output channel_output_of(const conv_outputs *o,
                                                                              int32_t m)
{
    return (channel_output){
        o->b ? o->b[m] : 0,
        o->multiplier[m],
        o->delta ? (float)o->delta[m] * (1.0f / 256.0f) : 0.0f,
    };
}

/* Of a sum that begins with the bias. */
static inline __attribute__((always_inline)) float v_of_sum(const channel_output *of, int32_t sum)
{
    return (float)sum * of->multiplier + of->delta;
}

static inline __attribute__((always_inline)) int8_t output_of_number(const conv_outputs *o, float v)
{
    const int32_t q = rounded_plus(v, o->zero_point);
    const int32_t not_below = q < o->low ? o->low : q;
    return (int8_t)(not_below > o->high ? o->high : not_below);
}

static inline __attribute__((always_inline)) uint32_t passes(const conv_outputs *o, float v)
{
    return o->pass_low < v && v < o->pass_high;
}

/* Two neighbours in the map of channel m, or one output twice where `step` is 0. The first is element
 * `place` of the map in y, and element `mask_place` of that in the mask. */
static inline __attribute__((always_inline)) void
put_two(const conv_outputs *o, const channel_output *of, int32_t sum0, int32_t sum1, int32_t m,
        int32_t place, int32_t mask_place, int32_t step)
{
    const float v0 = v_of_sum(of, sum0), v1 = v_of_sum(of, sum1);
    int8_t *y = o->y + m * o->y_map + place;

    y[0] = output_of_number(o, v0);
    y[step] = output_of_number(o, v1);
    if (o->mask) {
        const int32_t i = m * o->mask_map + mask_place;
        mask_put_two(o->mask, i, passes(o, v0), passes(o, v1), step);
    }
}

/* The only output of each of `count` channels from the `first` on. */
static __attribute__((noinline, unused)) void
put_one_of_each(const conv_outputs *o, const int32_t *sums, int32_t first, int32_t count)
{
    if (are_plain(o)) {
        const float *multiplier = o->multiplier + first;
        const int32_t zero_point = o->zero_point, step = o->y_map;
        int8_t *y = o->y + first * step;
        for (; count > 0; count--, y += step) {
            *y = (int8_t)clamp_int8(rounded_plus((float)*sums++ * *multiplier++, zero_point));
        }
    }
    for (int32_t i = first; i < first + count; i++) {
        const int32_t m = o->order ? o->order[i] : i;
        const channel_output of = channel_output_of(o, m);
        const float v = v_of_sum(&of, *sums++);
        o->y[m * o->y_map] = output_of_number(o, v);
        if (o->mask) {
            mask_put(o->mask, m, (int)passes(o, v));
        }
    }
}

/* Four neighbours, where y may be all of int8; `learned`: there is a delta. */
static inline __attribute__((always_inline)) void put_four(const channel_output *of, bool learned,
                                                           int32_t zero_point, const int32_t *sums,
                                                           int8_t *y)
{
#if QUANTIZE_FPU
#define PUT_FOUR(plus_delta)                                                                       \
    __asm__ volatile("vldm   %[sums], {s4-s7}\n\t"                                                 \
                     "vcvt.f32.s32 s4, s4\n\t"                                                     \
                     "vcvt.f32.s32 s5, s5\n\t"                                                     \
                     "vcvt.f32.s32 s6, s6\n\t"                                                     \
                     "vcvt.f32.s32 s7, s7\n\t"                                                     \
                     "vmul.f32 s4, s4, %[multiplier]\n\t"                                          \
                     "vmul.f32 s5, s5, %[multiplier]\n\t"                                          \
                     "vmul.f32 s6, s6, %[multiplier]\n\t"                                          \
                     "vmul.f32 s7, s7, %[multiplier]\n\t" plus_delta                               \
                     "vcvtr.s32.f32 s4, s4\n\t"                                                    \
                     "vcvtr.s32.f32 s5, s5\n\t"                                                    \
                     "vcvtr.s32.f32 s6, s6\n\t"                                                    \
                     "vcvtr.s32.f32 s7, s7\n\t"                                                    \
                     "vmov   r4, r5, s4, s5\n\t"                                                   \
                     "vmov   r6, r8, s6, s7\n\t"                                                   \
                     "qadd   r4, r4, %[zero]\n\t"                                                  \
                     "qadd   r5, r5, %[zero]\n\t"                                                  \
                     "qadd   r6, r6, %[zero]\n\t"                                                  \
                     "qadd   r8, r8, %[zero]\n\t"                                                  \
                     "ssat   r4, #8, r4\n\t"                                                       \
                     "ssat   r5, #8, r5\n\t"                                                       \
                     "ssat   r6, #8, r6\n\t"                                                       \
                     "ssat   r8, #8, r8\n\t"                                                       \
                     "strb   r4, [%[y]]\n\t"                                                       \
                     "strb   r5, [%[y], #1]\n\t"                                                   \
                     "strb   r6, [%[y], #2]\n\t"                                                   \
                     "strb   r8, [%[y], #3]"                                                       \
                     :                                                                             \
                     : [sums] "r"(sums), [y] "r"(y), [zero] "r"(zero_point),                       \
                       [multiplier] "t"(of->multiplier), [delta] "t"(of->delta)                    \
                     : "r4", "r5", "r6", "r8", "s4", "s5", "s6", "s7", "memory")
    if (learned) {
        PUT_FOUR("vadd.f32 s4, s4, %[delta]\n\t"
                 "vadd.f32 s5, s5, %[delta]\n\t"
                 "vadd.f32 s6, s6, %[delta]\n\t"
                 "vadd.f32 s7, s7, %[delta]\n\t");
    } else {
        PUT_FOUR("");
    }
#undef PUT_FOUR
#else
    (void)learned; /* the delta is 0 where there is none */
    for (int32_t i = 0; i < 4; i++) {
        y[i] = (int8_t)clamp_int8(rounded_plus(v_of_sum(of, sums[i]), zero_point));
    }
#endif
}

/* At least four. */
static inline __attribute__((always_inline)) void put_fours(const channel_output *of, bool learned,
                                                            int32_t zero_point,
                                                            const int32_t *sums, int32_t count,
                                                            int8_t *y)
{
    const int32_t *last = sums + count - 4;

    for (; sums < last; sums += 4, y += 4) {
        put_four(of, learned, zero_point, sums, y);
    }
    put_four(of, learned, zero_point, last, y - (sums - last)); /* some of them once more */
}

/* Neighbours in the map of channel m. */
static __attribute__((noinline, unused)) void
put_row(const conv_outputs *o, const channel_output *of, const int32_t *sums, int32_t count,
        int32_t m, int32_t place, int32_t mask_place)
{
    const channel_output channel = *of;
    int8_t *y = o->y + m * o->y_map + place;

    if (o->low == INT8_MIN && o->high == INT8_MAX && count >= 4) {
        if (o->delta) {
            put_fours(&channel, true, o->zero_point, sums, count, y);
        } else {
            put_fours(&channel, false, o->zero_point, sums, count, y);
        }
    } else {
        for (int32_t i = 0; i < count; i++) {
            y[i] = output_of_number(o, v_of_sum(&channel, sums[i]));
        }
    }
    if (o->mask) {
        uint8_t *mask = o->mask;
        const float low = o->pass_low, high = o->pass_high;
        const int32_t bit = m * o->mask_map + mask_place;
        for (int32_t i = 0; i < count; i++) {
            const float v = v_of_sum(&channel, sums[i]);
            mask_put(mask, bit + i, low < v && v < high);
        }
    }
}

#endif
