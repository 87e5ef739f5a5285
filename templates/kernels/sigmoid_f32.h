/* Activations built on the exponential, on n values, forward and backward.
 *
 * The output may be an input's own memory. Gradients are those of the output y where they can be
 * computed from it, else of x.
 */
#ifndef TINYODL_SIGMOID_F32_H
#define TINYODL_SIGMOID_F32_H

#include <stdint.h>

#include "math_f32.h"

/// Sigmoid: y = 1 / (1 + e^-x) ///

static inline void sigmoid_all_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = sigmoid_f32(x[i]);
    }
}

static inline void sigmoid_gradient_f32(int32_t n, const float *gy, const float *y, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = gy[i] * y[i] * (1.0f - y[i]);
    }
}

/// Tanh ///

static inline void tanh_all_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = tanh_f32(x[i]);
    }
}

/* gx = gy * (1 - y^2), the difference as a product */
static inline void tanh_gradient_f32(int32_t n, const float *gy, const float *y, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = gy[i] * (1.0f - y[i]) * (1.0f + y[i]);
    }
}

/// Elu, Selu and Celu: y = x > 0 ? gain * x : alpha * (e^(rate * x) - 1) ///

static inline void elu_f32(int32_t n, float gain, float alpha, float rate, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = x[i] > 0.0f ? gain * x[i] : alpha * expm1_f32(rate * x[i]);
    }
}

/* gx = y > 0 ? gain * gy : rate * (y + alpha) * gy */
static inline void elu_gradient_f32(int32_t n, float gain, float alpha, float rate, const float *gy,
                                    const float *y, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = (y[i] > 0.0f ? gain : rate * (y[i] + alpha)) * gy[i];
    }
}

/// Softplus: y = log(1 + e^x) ///

static inline void softplus_all_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = softplus_f32(x[i]);
    }
}

/* gx = gy * (1 - e^-y), which is the sigmoid of x */
static inline void softplus_gradient_f32(int32_t n, const float *gy, const float *y, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = -expm1_f32(-y[i]) * gy[i];
    }
}

/// Softsign: y = x / (1 + |x|) ///

static inline void softsign_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = x[i] / (1.0f + (x[i] < 0.0f ? -x[i] : x[i]));
    }
}

/* gx = gy * (1 - |y|)^2 */
static inline void softsign_gradient_f32(int32_t n, const float *gy, const float *y, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        const float slope = 1.0f - (y[i] < 0.0f ? -y[i] : y[i]);
        gx[i] = gy[i] * slope * slope;
    }
}

/// Swish: y = x * sigmoid(alpha * x) ///

static inline void swish_f32(int32_t n, float alpha, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = x[i] * sigmoid_f32(alpha * x[i]);
    }
}

/* gx = gy * (g + alpha * x * g * (1 - g)) with g = sigmoid(alpha * x) */
static inline void swish_gradient_f32(int32_t n, float alpha, const float *gy, const float *x,
                                      float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        const float z = alpha * x[i];
        const float gate = sigmoid_f32(z);
        gx[i] = gy[i] * (gate + z * gate * sigmoid_f32(-z));
    }
}

/// Mish: y = x * tanh(log(1 + e^x)) ///

static inline void mish_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = x[i] * tanh_f32(softplus_f32(x[i]));
    }
}

/* gx = gy * (t + x * (1 - t^2) * sigmoid(x)) with t = tanh(log(1 + e^x)) */
static inline void mish_gradient_f32(int32_t n, const float *gy, const float *x, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        const float t = tanh_f32(softplus_f32(x[i]));
        gx[i] = gy[i] * (t + x[i] * (1.0f - t) * (1.0f + t) * sigmoid_f32(x[i]));
    }
}

#endif
