/* Softmax cross-entropy of n logits z against one label, and its gradient.
 *
 *   loss = log sum over i of exp z[i] - z[label]        gz = softmax(z) - onehot(label)
 */
#ifndef TINYODL_CROSS_ENTROPY_F32_H
#define TINYODL_CROSS_ENTROPY_F32_H

#include <stdint.h>

#include "math_f32.h"

static inline float maximum_f32(int32_t n, const float *z)
{
    float max = z[0];
    for (int32_t i = 1; i < n; i++) {
        max = z[i] > max ? z[i] : max;
    }
    return max;
}

static inline void cross_entropy_f32(int32_t n, const float *z, int32_t label, float *loss)
{
    const float max = maximum_f32(n, z);
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        sum += exp_f32(z[i] - max);
    }
    *loss = log_f32(sum) - (z[label] - max);
}

/* gz may be z's own memory. */
static inline void cross_entropy_gradient_f32(int32_t n, const float *z, int32_t label, float *gz)
{
    const float max = maximum_f32(n, z);
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        gz[i] = exp_f32(z[i] - max);
        sum += gz[i];
    }
    for (int32_t i = 0; i < n; i++) {
        gz[i] = gz[i] / sum - (i == label ? 1.0f : 0.0f);
    }
}

/* Of the first `in_use` of n logits; the gradient of the others is 0. */
static inline void cross_entropy_gradient_in_use_f32(int32_t n, int32_t in_use, const float *z,
                                              int32_t label, float *gz)
{
    cross_entropy_gradient_f32(in_use, z, label, gz);
    for (int32_t i = in_use; i < n; i++) {
        gz[i] = 0.0f;
    }
}

#endif
