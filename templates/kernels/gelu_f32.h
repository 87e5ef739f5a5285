/* The error function, and Gelu in its exact and its approximate form, on n values, forward and
 * backward. The output may be an input's own memory.
 */
#ifndef TINYODL_GELU_F32_H
#define TINYODL_GELU_F32_H

#include <stdint.h>

#include "math_f32.h"

/// Erf ///

static inline void erf_all_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = erf_f32(x[i]);
    }
}

/* gx = gy * 2 / sqrt(pi) * e^(-x^2) */
static inline void erf_gradient_f32(int32_t n, const float *gy, const float *x, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = gy[i] * 1.12837917f * exp_f32(-x[i] * x[i]);
    }
}

/// Gelu: y = x * P(x) with P(x) = (1 + erf(x / sqrt 2)) / 2 ///

static inline void gelu_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = 0.5f * x[i] * (1.0f + erf_f32(x[i] * 0.707106781f));
    }
}

/* gx = gy * (P(x) + x * P'(x)) with P'(x) = e^(-x^2 / 2) / sqrt(2 pi) */
static inline void gelu_gradient_f32(int32_t n, const float *gy, const float *x, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        const float share = 0.5f + 0.5f * erf_f32(x[i] * 0.707106781f);
        const float density = 0.398942280f * exp_f32(-0.5f * x[i] * x[i]);
        gx[i] = gy[i] * (share + x[i] * density);
    }
}

/// Gelu, approximate: y = x * (1 + tanh u) / 2 with u = sqrt(2 / pi) * (x + 0.044715 x^3) ///

static inline float gelu_inner_f32(float x)
{
    return 0.797884561f * (x + 0.044715f * x * x * x);
}

static inline void gelu_tanh_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = 0.5f * x[i] * (1.0f + tanh_f32(gelu_inner_f32(x[i])));
    }
}

/* gx = gy * (1 + t + x * (1 - t^2) * u') / 2 with t = tanh u */
static inline void gelu_tanh_gradient_f32(int32_t n, const float *gy, const float *x, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        const float t = tanh_f32(gelu_inner_f32(x[i]));
        const float slope = 0.797884561f * (1.0f + 0.134145f * x[i] * x[i]);
        gx[i] = gy[i] * 0.5f * (1.0f + t + x[i] * (1.0f - t) * (1.0f + t) * slope);
    }
}

#endif
