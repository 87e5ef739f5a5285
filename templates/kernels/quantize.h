/* From float32 to int8, and the bits that say where the gradient passes.
 *
 *   q = clamp(round(v) + zero_point, low, high)
 *
 * v is a real value divided by the output's scale. It is clamped before it is rounded, to
 * lowest = low - zero_point and highest = high - zero_point, so every v has a q on every machine.
 * Adding 1.5 * 2^23 rounds it, half to even: the sum's last bit stands for 1.
 */
#ifndef TINYODL_QUANTIZE_H
#define TINYODL_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && defined(__thumb2__)
#define QUANTIZE_FPU 1
#else
#define QUANTIZE_FPU 0
#endif

/* How an operator makes its int8 output. The gradient passes where pass_low < v < pass_high. */
typedef struct {
    int32_t zero_point;
    float lowest, highest;
    float pass_low, pass_high;
} output_i8;

/* round(v) within [lowest, highest], two integers between -2^22 and 2^22; lowest for NaN. */
static inline __attribute__((always_inline)) int32_t quantize_f32(float v, float lowest,
                                                                  float highest)
{
    const float clamped = v > lowest ? (v < highest ? v : highest) : lowest;
    const float shifted = clamped + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - 0x4b400000;
}

/* round(v) + zero_point, for a v that is a number: far outside of int8 anything that far outside. */
static inline __attribute__((always_inline)) int32_t rounded_plus(float v, int32_t zero_point)
{
#if QUANTIZE_FPU
    float integer; /* its bits are an int32 */
    int32_t q;
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(integer) : "t"(v));
    memcpy(&q, &integer, sizeof q);
    __asm__("qadd %0, %0, %1" : "+r"(q) : "r"(zero_point));
    return q;
#else
    return quantize_f32(v, -4096.0f, 4096.0f) + zero_point;
#endif
}

static inline __attribute__((always_inline)) int32_t clamp_int8(int32_t q)
{
#if defined(__ARM_FEATURE_DSP)
    __asm__("ssat %0, #8, %0" : "+r"(q));
    return q;
#else
    return q < INT8_MIN ? INT8_MIN : q > INT8_MAX ? INT8_MAX : q;
#endif
}

/* Bit i of a mask: byte i / 8, bit i % 8. Only that bit is written, in any order, over anything. */
static inline __attribute__((always_inline)) void mask_put(uint8_t *mask, int32_t i, int bit)
{
    const uint32_t place = (uint32_t)i & 7u;
    mask[i >> 3] = (uint8_t)((mask[i >> 3] & ~(1u << place)) | ((uint32_t)(bit != 0) << place));
}

/* Bits i and i + step, where step is 1, or 0 for one bit. */
static inline __attribute__((always_inline)) void
mask_put_two(uint8_t *mask, int32_t i, uint32_t bit0, uint32_t bit1, int32_t step)
{
    const uint32_t place = (uint32_t)i & 7u;
    if (step == 1 && place < 7) {
        const uint32_t others = mask[i >> 3] & ~(3u << place);
        mask[i >> 3] = (uint8_t)(others | (bit1 << 1 | bit0) << place);
    } else {
        mask_put(mask, i, (int)bit0);
        mask_put(mask, i + step, (int)bit1);
    }
}

static inline __attribute__((always_inline)) int mask_get(const uint8_t *mask, int32_t i)
{
    return (mask[i >> 3] >> (i & 7)) & 1;
}

/* q of output element i, and its bit in the mask; `mask` may be NULL. */
static inline __attribute__((always_inline)) int8_t output_of_v(const output_i8 *o, float v,
                                                                uint8_t *mask, int32_t i)
{
    if (mask) {
        mask_put(mask, i, o->pass_low < v && v < o->pass_high);
    }
    return (int8_t)(quantize_f32(v, o->lowest, o->highest) + o->zero_point);
}

#endif
