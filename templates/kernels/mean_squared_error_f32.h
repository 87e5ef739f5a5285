/* Mean squared error of n values y against a target t, and its gradient.
 *
 *   loss = sum over i of (y[i] - t[i])^2 / n        gy[i] = 2 (y[i] - t[i]) / n
 *
 * Against a label: t has a 1 there, and zeros.
 */
#ifndef TINYODL_MEAN_SQUARED_ERROR_F32_H
#define TINYODL_MEAN_SQUARED_ERROR_F32_H

#include <stdint.h>

static inline void mean_squared_error_f32(int32_t n, const float *y, const float *t, float *loss)
{
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        const float d = y[i] - t[i];
        sum += d * d;
    }
    *loss = sum / (float)n;
}

/* gy may be y's or t's own memory. */
static inline void mean_squared_error_gradient_f32(int32_t n, const float *y, const float *t, float *gy)
{
    for (int32_t i = 0; i < n; i++) {
        gy[i] = 2.0f * (y[i] - t[i]) / (float)n;
    }
}

static inline void one_hot_squared_error_f32(int32_t n, const float *y, int32_t label, float *loss)
{
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        const float d = y[i] - (i == label ? 1.0f : 0.0f);
        sum += d * d;
    }
    *loss = sum / (float)n;
}

/* gy may be y's own memory. */
static inline void one_hot_squared_error_gradient_f32(int32_t n, const float *y, int32_t label, float *gy)
{
    for (int32_t i = 0; i < n; i++) {
        gy[i] = 2.0f * (y[i] - (i == label ? 1.0f : 0.0f)) / (float)n;
    }
}

/* Of the first `in_use` of n values; the gradient of the others is 0. */
static inline void one_hot_squared_error_gradient_in_use_f32(int32_t n, int32_t in_use, const float *y,
                                              int32_t label, float *gy)
{
    one_hot_squared_error_gradient_f32(in_use, y, label, gy);
    for (int32_t i = in_use; i < n; i++) {
        gy[i] = 0.0f;
    }
}

#endif
