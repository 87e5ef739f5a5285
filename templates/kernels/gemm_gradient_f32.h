/* Gradients of a dense layer's weight and bias, handed to the learner element by element.
 *
 *   gw[i, j] = gy[i] * x[j]        gb[i] = gy[i]        summed over the rows where x is a matrix
 */
#ifndef TINYODL_GEMM_GRADIENT_F32_H
#define TINYODL_GEMM_GRADIENT_F32_H

#include <stdint.h>

#include "learner_f32.h"

static inline void gemm_weight_gradient_f32(int32_t n, int32_t k, const float *restrict gy,
                                     const float *restrict x, const learner_f32 *learner)
{
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < k; j++) {
            learner_take_f32(learner, i * k + j, gy[i] * x[j]);
        }
    }
}

static inline void gemm_bias_gradient_f32(int32_t n, const float *restrict gy, const learner_f32 *learner)
{
    for (int32_t i = 0; i < n; i++) {
        learner_take_f32(learner, i, gy[i]);
    }
}

static inline void gemm_rows_weight_gradient_f32(int32_t rows, int32_t n, int32_t k,
                                                 const float *restrict gy,
                                                 const float *restrict x,
                                                 const learner_f32 *learner)
{
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < k; j++) {
            float sum = 0.0f;
            for (int32_t row = 0; row < rows; row++) {
                sum += gy[row * n + i] * x[row * k + j];
            }
            learner_take_f32(learner, i * k + j, sum);
        }
    }
}

static inline void gemm_rows_bias_gradient_f32(int32_t rows, int32_t n, const float *restrict gy,
                                               const learner_f32 *learner)
{
    for (int32_t i = 0; i < n; i++) {
        float sum = 0.0f;
        for (int32_t row = 0; row < rows; row++) {
            sum += gy[row * n + i];
        }
        learner_take_f32(learner, i, sum);
    }
}

#endif
