/* The guard's memory: samples that are held back from training, to test parameters on.
 *
 * x: the features (f) that the first layer reads which changes. Of each of n classes the last `slots`
 * are held: features (n, slots, f), counts (n) of samples of each class so far. state: labelled
 * samples since the last that was held back.
 */
#ifndef TINYODL_GUARD_F32_H
#define TINYODL_GUARD_F32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
                                  int32_t label, const float *x, float *features, int32_t *counts,
                                  int32_t *state, int32_t *held, uint32_t *flags)
{
    const int32_t place = guard_place(slots, active, every, label, counts, state, held, flags);
    if (place >= 0) {
        memcpy(features + place * f, x, (uint32_t)f * sizeof *x);
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

/* How many of the samples a last layer with these weights (n, f) and biases tells right, by the
 * first n of its outputs. Absent ones are zero. */
static inline int32_t guard_right_f32(int32_t n, int32_t slots, int32_t f, const float *features,
                                      const int32_t *counts, const float *w, const float *b)
{
    int32_t right = 0;

    for (int32_t c = 0; c < n; c++) {
        const int32_t there = counts[c] < slots ? counts[c] : slots;
        for (int32_t slot = 0; slot < there; slot++) {
            const float *x = features + (c * slots + slot) * f;
            float most = 0.0f;
            int32_t best = 0;
            for (int32_t i = 0; i < n; i++) {
                float y = b ? b[i] : 0.0f;
                for (int32_t j = 0; w && j < f; j++) {
                    y += w[i * f + j] * x[j];
                }
                if (i == 0 || y > most) {
                    most = y;
                    best = i;
                }
            }
            right += best == c;
        }
    }
    return right;
}

#endif
