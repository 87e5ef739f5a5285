/* Elementwise sum of n values. The output may be either input's own memory. */
#ifndef TINYODL_ARITHMETIC_F32_H
#define TINYODL_ARITHMETIC_F32_H

#include <stdint.h>

static inline void add_f32(int32_t n, const float *a, const float *b, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = a[i] + b[i];
    }
}

#endif
