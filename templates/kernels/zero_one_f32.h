/* The 0-1 loss of n outputs z: 0 where the largest is that of the label (the lowest of equal ones), else 1. */
#ifndef TINYODL_ZERO_ONE_F32_H
#define TINYODL_ZERO_ONE_F32_H

#include <stdint.h>

static inline void zero_one_f32(int32_t n, const float *z, int32_t label, float *loss)
{
    int32_t best = 0;

    for (int32_t i = 1; i < n; i++) {
        best = z[i] > z[best] ? i : best;
    }
    *loss = best == label ? 0.0f : 1.0f;
}

#endif
