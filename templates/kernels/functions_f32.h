/* Exp, Log, Sqrt, Reciprocal, Abs and Neg of n values, forward and backward. The output may be an
 * input's own memory.
 */
#ifndef TINYODL_FUNCTIONS_F32_H
#define TINYODL_FUNCTIONS_F32_H

#include <stdint.h>

#include "math_f32.h"

/// Exp ///

static inline void exp_all_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = exp_f32(x[i]);
    }
}

static inline void exp_gradient_f32(int32_t n, const float *gy, const float *y, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = gy[i] * y[i];
    }
}

/// Log ///

static inline void log_all_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = any_log_f32(x[i]);
    }
}

static inline void log_gradient_f32(int32_t n, const float *gy, const float *x, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = gy[i] / x[i];
    }
}

/// Sqrt ///

static inline void sqrt_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = __builtin_sqrtf(x[i]);
    }
}

static inline void sqrt_gradient_f32(int32_t n, const float *gy, const float *y, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = gy[i] * 0.5f / y[i];
    }
}

/// Reciprocal: y = 1 / x ///

static inline void reciprocal_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = 1.0f / x[i];
    }
}

static inline void reciprocal_gradient_f32(int32_t n, const float *gy, const float *y, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = -gy[i] * y[i] * y[i];
    }
}

/// Abs ///

static inline void abs_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = x[i] < 0.0f ? -x[i] : x[i];
    }
}

/* gx = gy * sign(x), and 0 at 0 */
static inline void abs_gradient_f32(int32_t n, const float *gy, const float *x, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = x[i] > 0.0f ? gy[i] : x[i] < 0.0f ? -gy[i] : 0.0f;
    }
}

/// Neg ///

static inline void negate_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = -x[i];
    }
}

#endif
