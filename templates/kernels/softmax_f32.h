/* Softmax and LogSoftmax along one axis of n elements, with `outer` elements before and `inner`
 * elements behind it, forward and backward. The output may be an input's own memory.
 *
 *   Softmax:     y[i] = exp(x[i] - max) / sum over j of exp(x[j] - max)
 *   LogSoftmax:  y[i] = x[i] - max - log sum over j of exp(x[j] - max)
 */
#ifndef TINYODL_SOFTMAX_F32_H
#define TINYODL_SOFTMAX_F32_H

#include <stdint.h>

#include "math_f32.h"

static inline float maximum_along_f32(int32_t n, int32_t step, const float *x)
{
    float max = x[0];
    for (int32_t i = 1; i < n; i++) {
        max = x[i * step] > max ? x[i * step] : max;
    }
    return max;
}

/// Softmax ///

static inline void softmax_f32(int32_t outer, int32_t n, int32_t inner, const float *x, float *y)
{
    for (int32_t row = 0; row < outer * inner; row++) {
        const int32_t first = row / inner * n * inner + row % inner;
        const float max = maximum_along_f32(n, inner, x + first);
        float sum = 0.0f;
        for (int32_t i = 0; i < n; i++) {
            const int32_t at = first + i * inner;
            y[at] = exp_f32(x[at] - max);
            sum += y[at];
        }
        for (int32_t i = 0; i < n; i++) {
            y[first + i * inner] = y[first + i * inner] / sum;
        }
    }
}

/* gx[i] = y[i] * (gy[i] - sum over j of gy[j] * y[j]) */
static inline void softmax_gradient_f32(int32_t outer, int32_t n, int32_t inner, const float *gy,
                                        const float *y, float *gx)
{
    for (int32_t row = 0; row < outer * inner; row++) {
        const int32_t first = row / inner * n * inner + row % inner;
        float sum = 0.0f;
        for (int32_t i = 0; i < n; i++) {
            sum += gy[first + i * inner] * y[first + i * inner];
        }
        for (int32_t i = 0; i < n; i++) {
            const int32_t at = first + i * inner;
            gx[at] = y[at] * (gy[at] - sum);
        }
    }
}

/// LogSoftmax ///

static inline void log_softmax_f32(int32_t outer, int32_t n, int32_t inner, const float *x, float *y)
{
    for (int32_t row = 0; row < outer * inner; row++) {
        const int32_t first = row / inner * n * inner + row % inner;
        const float max = maximum_along_f32(n, inner, x + first);
        float sum = 0.0f;
        for (int32_t i = 0; i < n; i++) {
            sum += exp_f32(x[first + i * inner] - max);
        }
        const float log_sum = log_f32(sum);
        for (int32_t i = 0; i < n; i++) {
            y[first + i * inner] = x[first + i * inner] - max - log_sum;
        }
    }
}

/* gx[i] = gy[i] - exp(y[i]) * sum over j of gy[j] */
static inline void log_softmax_gradient_f32(int32_t outer, int32_t n, int32_t inner, const float *gy,
                                            const float *y, float *gx)
{
    for (int32_t row = 0; row < outer * inner; row++) {
        const int32_t first = row / inner * n * inner + row % inner;
        float sum = 0.0f;
        for (int32_t i = 0; i < n; i++) {
            sum += gy[first + i * inner];
        }
        for (int32_t i = 0; i < n; i++) {
            const int32_t at = first + i * inner;
            gx[at] = gy[at] - exp_f32(y[at]) * sum;
        }
    }
}

#endif
