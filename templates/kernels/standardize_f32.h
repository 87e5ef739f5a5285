/* Standardised features, and the running mean and variance that they are standardised with.
 *
 *   y[i] = (x[i] - mean[i]) / sqrt(variance[i] + epsilon) * scale[i] + bias[i]
 *
 * scale and bias may be NULL: 1 and 0. The output may be the input's own memory.
 */
#ifndef TINYODL_STANDARDIZE_F32_H
#define TINYODL_STANDARDIZE_F32_H

#include <stddef.h>
#include <stdint.h>

static inline void standardize_f32(int32_t n, float epsilon, const float *x, const float *scale,
                                   const float *bias, const float *mean, const float *variance,
                                   float *y)
{
    for (int32_t i = 0; i < n; i++) {
        const float unit = (x[i] - mean[i]) / __builtin_sqrtf(variance[i] + epsilon);
        y[i] = (scale ? unit * scale[i] : unit) + (bias ? bias[i] : 0.0f);
    }
}

/* One sample more: its share r is 1 / count, but at least `least`. From 2^24 samples on, where
 * float32 numbers have no place for one more, the count stays.
 *
 *   d = x - mean,  mean += r d,  variance = (1 - r) (variance + r d^2)
 */
static inline void standardize_update_f32(int32_t n, float least, const float *restrict x,
                                          float *restrict mean, float *restrict variance,
                                          int32_t *restrict count)
{
    *count += *count < 16777216;
    const float all = 1.0f / (float)*count;
    const float r = all > least ? all : least;

    for (int32_t i = 0; i < n; i++) {
        const float d = x[i] - mean[i];
        const float step = r * d;
        mean[i] += step;
        variance[i] = (1.0f - r) * (variance[i] + step * d);
    }
}

/* gx[i] = gy[i] * scale[i] / sqrt(variance[i] + epsilon) */
static inline void standardize_input_gradient_f32(int32_t n, float epsilon, const float *gy,
                                                  const float *scale, const float *variance,
                                                  float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        const float unit = gy[i] / __builtin_sqrtf(variance[i] + epsilon);
        gx[i] = scale ? unit * scale[i] : unit;
    }
}

#endif
