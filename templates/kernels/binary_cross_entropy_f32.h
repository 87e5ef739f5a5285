/* Binary cross-entropy of n logits z, each against a target t from 0 to 1, and its gradient.
 *
 *   loss = sum over i of (max(z[i], 0) - z[i] t[i] + log(1 + e^-|z[i]|)) / n
 *   gz[i] = (sigmoid(z[i]) - t[i]) / n
 *
 * Against a label: t has a 1 there, and zeros.
 */
#ifndef TINYODL_BINARY_CROSS_ENTROPY_F32_H
#define TINYODL_BINARY_CROSS_ENTROPY_F32_H

#include <stdint.h>

#include "math_f32.h"

/* Of one logit; nothing overflows, and for t from 0 to 1 it is not negative. */
static inline float binary_cross_entropy_of_f32(float z, float t)
{
    const float rest = log1p_f32(exp_f32(z < 0.0f ? z : -z));
    return ((z > 0.0f ? z : 0.0f) - z * t) + rest;
}

static inline void binary_cross_entropy_f32(int32_t n, const float *z, const float *t, float *loss)
{
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        sum += binary_cross_entropy_of_f32(z[i], t[i]);
    }
    *loss = sum / (float)n;
}

/* gz may be z's or t's own memory. */
static inline void binary_cross_entropy_gradient_f32(int32_t n, const float *z, const float *t,
                                                     float *gz)
{
    for (int32_t i = 0; i < n; i++) {
        gz[i] = (sigmoid_f32(z[i]) - t[i]) / (float)n;
    }
}

static inline void one_hot_binary_cross_entropy_f32(int32_t n, const float *z, int32_t label,
                                                    float *loss)
{
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        sum += binary_cross_entropy_of_f32(z[i], i == label ? 1.0f : 0.0f);
    }
    *loss = sum / (float)n;
}

/* gz may be z's own memory. */
static inline void one_hot_binary_cross_entropy_gradient_f32(int32_t n, const float *z,
                                                             int32_t label, float *gz)
{
    for (int32_t i = 0; i < n; i++) {
        gz[i] = (sigmoid_f32(z[i]) - (i == label ? 1.0f : 0.0f)) / (float)n;
    }
}

/* Of a single logit against the label 0 or 1. */
static inline void label_binary_cross_entropy_f32(const float *z, int32_t label, float *loss)
{
    *loss = binary_cross_entropy_of_f32(*z, (float)label);
}

/* gz may be z's own memory. */
static inline void label_binary_cross_entropy_gradient_f32(const float *z, int32_t label, float *gz)
{
    *gz = sigmoid_f32(*z) - (float)label;
}

/* Of the first `in_use` of n logits; the gradient of the others is 0. */
static inline void one_hot_binary_cross_entropy_gradient_in_use_f32(int32_t n, int32_t in_use,
                                                                    const float *z, int32_t label,
                                                                    float *gz)
{
    one_hot_binary_cross_entropy_gradient_f32(in_use, z, label, gz);
    for (int32_t i = in_use; i < n; i++) {
        gz[i] = 0.0f;
    }
}

#endif
