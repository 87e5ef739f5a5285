/* Activations made of straight pieces, and products of them, on n values, forward and backward.
 *
 * The output may be an input's own memory. `s` stands for x or for y where the sign of both is the
 * same.
 */
#ifndef TINYODL_PIECEWISE_F32_H
#define TINYODL_PIECEWISE_F32_H

#include <stdint.h>

/// LeakyRelu: y = x > 0 ? x : alpha * x ///

static inline void leaky_relu_f32(int32_t n, float alpha, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = x[i] > 0.0f ? x[i] : alpha * x[i];
    }
}

static inline void leaky_relu_gradient_f32(int32_t n, float alpha, const float *gy, const float *s,
                                           float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = s[i] > 0.0f ? gy[i] : alpha * gy[i];
    }
}

/// ThresholdedRelu: y = x > alpha ? x : 0 ///

static inline void thresholded_relu_f32(int32_t n, float alpha, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = x[i] > alpha ? x[i] : 0.0f;
    }
}

static inline void thresholded_relu_gradient_f32(int32_t n, float alpha, const float *gy,
                                                 const float *s, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = s[i] > alpha ? gy[i] : 0.0f;
    }
}

/// HardSigmoid: y = min(max(alpha * x + beta, 0), 1) ///

static inline float hard_sigmoid_of_f32(float alpha, float beta, float x)
{
    const float line = alpha * x + beta;
    const float raised = line < 0.0f ? 0.0f : line;
    return raised > 1.0f ? 1.0f : raised;
}

static inline void hard_sigmoid_f32(int32_t n, float alpha, float beta, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = hard_sigmoid_of_f32(alpha, beta, x[i]);
    }
}

static inline void hard_sigmoid_gradient_f32(int32_t n, float alpha, const float *gy, const float *y,
                                             float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = y[i] > 0.0f && y[i] < 1.0f ? alpha * gy[i] : 0.0f;
    }
}

/// HardSwish: y = x * min(max(x / 6 + 1/2, 0), 1) ///

static inline void hard_swish_f32(int32_t n, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = x[i] * hard_sigmoid_of_f32(0.166666667f, 0.5f, x[i]);
    }
}

/* gx = gy * (0, x / 3 + 1/2 or 1) for x below -3, between and above 3 */
static inline void hard_swish_gradient_f32(int32_t n, const float *gy, const float *x, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        const float slope = x[i] < 3.0f ? x[i] * 0.333333333f + 0.5f : 1.0f;
        gx[i] = x[i] > -3.0f ? slope * gy[i] : 0.0f;
    }
}

#endif
