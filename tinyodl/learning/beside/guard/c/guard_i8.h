/* The guard's memory: samples held back from training, to test parameters on.
 *
 * x: the input (f) of the first layer that changes. Of each of n classes the last `slots` samples are
 * held, in a cache's format: features (n, slots, f), int8 ones as they are, float32 ones with their
 * scales (n, slots); counts (n) of samples of each class so far. state: labelled samples since the
 * last one held back, and returns since parameters were the best.
 */
#ifndef TINYODL_GUARD_I8_H
#define TINYODL_GUARD_I8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "feature_cache_i8.h"
#include "flags.h"

/* Every `every`-th labelled sample is held back: then its place, else -1. */
static inline int32_t guard_place(int32_t slots, float active, float every, int32_t label,
                                  int32_t *counts, int32_t *state, int32_t *held, uint32_t *flags)
{
    *held = active != 0.0f && (float)++state[0] >= every;
    if (!*held) {
        return -1;
    }
    state[0] = 0;
    *flags |= FLAG_HELD_BACK;
    return label * slots + counts[label]++ % slots;
}

static inline void guard_hold_f32(int32_t slots, int32_t f, float active, float every,
                                  int32_t label, const float *x, int8_t *features, int32_t *counts,
                                  int32_t *state, int32_t *held, uint32_t *flags, float *scales)
{
    const int32_t place = guard_place(slots, active, every, label, counts, state, held, flags);
    if (place >= 0) {
        scales[place] = cache_scale_f32(f, x);
        cache_quantize_f32(f, scales[place], x, features + place * f);
    }
}

static inline void guard_hold_i8(int32_t slots, int32_t f, float active, float every,
                                 int32_t label, const int8_t *x, int8_t *features, int32_t *counts,
                                 int32_t *state, int32_t *held, uint32_t *flags)
{
    const int32_t place = guard_place(slots, active, every, label, counts, state, held, flags);
    if (place >= 0) {
        memcpy(features + place * f, x, (uint32_t)f);
    }
}

static inline int32_t guard_held(int32_t n, int32_t slots, const int32_t *counts)
{
    int32_t sum = 0;
    for (int32_t c = 0; c < n; c++) {
        sum += counts[c] < slots ? counts[c] : slots;
    }
    return sum;
}

/// Whether parameters are the best ///

/* By how much parameters may be worse than the best ones: the more, the more often they were left for
 * those since; at most a half. Where a stream changes, or a class is new, parameters become worse before
 * they become better; to go back each time would undo that each time. */
static inline float guard_margin(float margin, const int32_t *state)
{
    const float wide = margin * (float)(state[1] > 1 ? state[1] : 1);
    return margin > 0.5f ? margin : wide < 0.5f ? wide : 0.5f;
}

/* The largest of n outputs of a dense layer with these weights (n, f) and biases, whose input is
 * q * scale. Absent ones are zero. */
static inline int32_t guard_answer_f32(int32_t n, int32_t f, const int8_t *q, float scale,
                                       const float *w, const float *b)
{
    float most = 0.0f;
    int32_t best = 0;
    for (int32_t i = 0; i < n; i++) {
        float y = b ? b[i] : 0.0f;
        for (int32_t j = 0; w && j < f; j++) {
            y += w[i * f + j] * ((float)q[j] * scale);
        }
        if (i == 0 || y > most) {
            most = y;
            best = i;
        }
    }
    return best;
}

/* How many of the samples such a layer tells right. */
static inline int32_t guard_right_f32(int32_t n, int32_t slots, int32_t f, const int8_t *features,
                                      const float *scales, const int32_t *counts, const float *w,
                                      const float *b)
{
    int32_t right = 0;
    for (int32_t c = 0; c < n; c++) {
        const int32_t there = counts[c] < slots ? counts[c] : slots;
        for (int32_t place = c * slots; place < c * slots + there; place++) {
            right += guard_answer_f32(n, f, features + place * f, scales[place], w, b) == c;
        }
    }
    return right;
}

/* Exchanges what is at a and at b. */
static inline void guard_exchange(uint32_t bytes, void *a, void *b)
{
    uint8_t piece[64], *one = a, *other = b;
    while (bytes > 0) {
        const uint32_t count = bytes < sizeof piece ? bytes : sizeof piece;
        memcpy(piece, one, count);
        memcpy(one, other, count);
        memcpy(other, piece, count);
        one += count;
        other += count;
        bytes -= count;
    }
}

#endif
