/* Dense layer whose weights are a hash of the seed and of their place.
 *
 *   y[j] = u(j, k) + scale * sum over i < k of u(j, i) * x[i],   u in [-1, 1), multiples of 2^-23
 *
 * summed in this order, the bias last.
 */
#ifndef TINYODL_HASHED_GEMM_F32_H
#define TINYODL_HASHED_GEMM_F32_H

#include <stdint.h>

/* Wellons' lowbias32; the upper 24 bits as a number in [-1, 1). */
static inline float hash_value_f32(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return (float)((int32_t)x >> 8) * 0x1p-23f;
}

static inline void hashed_gemm_f32(int32_t n, int32_t k, uint32_t seed, float scale,
                                   const float *restrict x, float *restrict y)
{
    uint32_t at = seed * 0x9e3779b9u;

    for (int32_t j = 0; j < n; j++) {
        float sum = 0.0f;
        for (int32_t i = 0; i < k; i++) {
            sum += hash_value_f32(at++) * x[i];
        }
        y[j] = sum * scale + hash_value_f32(at++);
    }
}

#endif
