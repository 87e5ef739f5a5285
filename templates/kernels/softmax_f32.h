/* Softmax of each row of n values, forward and backward. The output may be the input's own memory. */
#ifndef TINYODL_SOFTMAX_F32_H
#define TINYODL_SOFTMAX_F32_H

#include <stdint.h>

#include "math_f32.h"

static inline void softmax_f32(int32_t rows, int32_t n, const float *x, float *y)
{
    for (int32_t row = 0; row < rows; row++, x += n, y += n) {
        float max = x[0];
        for (int32_t i = 1; i < n; i++) {
            max = x[i] > max ? x[i] : max;
        }
        float sum = 0.0f;
        for (int32_t i = 0; i < n; i++) {
            y[i] = exp_f32(x[i] - max);
            sum += y[i];
        }
        for (int32_t i = 0; i < n; i++) {
            y[i] = y[i] / sum;
        }
    }
}

/* gx[i] = y[i] * (gy[i] - sum over j of gy[j] * y[j]) */
static inline void softmax_gradient_f32(int32_t rows, int32_t n, const float *gy, const float *y,
                                 float *gx)
{
    for (int32_t row = 0; row < rows; row++, gy += n, y += n, gx += n) {
        float sum = 0.0f;
        for (int32_t i = 0; i < n; i++) {
            sum += gy[i] * y[i];
        }
        for (int32_t i = 0; i < n; i++) {
            gx[i] = y[i] * (gy[i] - sum);
        }
    }
}

#endif
