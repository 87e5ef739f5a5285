/* Dense layer whose weights are a hash of the seed and of their place.
 *
 *   y[j] = u(j, k) + scale * sum over i < k of u(j, i) * x[i],   u in [-1, 1), multiples of 2^-15
 *
 * summed in this order, the bias last. Each hash gives two numbers, the lower half first; a row
 * begins with a hash of its own.
 */
#ifndef TINYODL_HASHED_GEMM_F32_H
#define TINYODL_HASHED_GEMM_F32_H

#include <stdint.h>

/* Wellons' lowbias32. */
static inline uint32_t hash_u32(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x;
}

static inline float lower_number_f32(uint32_t hash)
{
    return (float)(int16_t)hash;
}

static inline float upper_number_f32(uint32_t hash)
{
    return (float)((int32_t)hash >> 16);
}

static inline void hashed_gemm_f32(int32_t n, int32_t k, uint32_t seed, float scale,
                                   const float *restrict x, float *restrict y)
{
    uint32_t at = seed * 0x9e3779b9u;

    for (int32_t j = 0; j < n; j++) {
        float sum = 0.0f;
        for (int32_t i = 0; i + 1 < k; i += 2) {
            const uint32_t hash = hash_u32(at++);
            sum += lower_number_f32(hash) * x[i];
            sum += upper_number_f32(hash) * x[i + 1];
        }
        const uint32_t last = hash_u32(at++);
        if (k & 1) {
            sum += lower_number_f32(last) * x[k - 1];
        }
        const float bias = k & 1 ? upper_number_f32(last) : lower_number_f32(last);
        y[j] = sum * (scale * 0x1p-15f) + bias * 0x1p-15f;
    }
}

#endif
