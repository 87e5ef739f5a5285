/* The guard's memory as in guard_f32.h, with features as a cache keeps them: int8 ones as they are,
 * float32 ones with a scale for each sample.
 */
#ifndef TINYODL_GUARD_I8_H
#define TINYODL_GUARD_I8_H

#include <stdint.h>
#include <string.h>

#include "feature_cache_i8.h"
#include "guard_f32.h"

static inline void guard_pack_f32(int32_t slots, int32_t f, float active, float every,
                                  int32_t label, const float *x, int8_t *features, int32_t *counts,
                                  int32_t *state, int32_t *held, uint32_t *flags, float *scales)
{
    const int32_t place = guard_place(slots, active, every, label, counts, state, held, flags);
    if (place >= 0) {
        scales[place] = cache_scale_f32(f, x);
        cache_quantize_f32(f, scales[place], x, features + place * f);
    }
}

static inline void guard_pack_i8(int32_t slots, int32_t f, float active, float every,
                                 int32_t label, const int8_t *x, int8_t *features, int32_t *counts,
                                 int32_t *state, int32_t *held, uint32_t *flags)
{
    const int32_t place = guard_place(slots, active, every, label, counts, state, held, flags);
    if (place >= 0) {
        memcpy(features + place * f, x, (uint32_t)f);
    }
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
