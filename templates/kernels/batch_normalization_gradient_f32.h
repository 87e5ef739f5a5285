/* Gradients of a batch normalisation's scale and bias, each complete before it goes to the learner.
 *
 *   gscale[c] = sum of gy * (x - mean[c]) * rstd[c]        gbias[c] = sum of gy
 */
#ifndef TINYODL_BATCH_NORMALIZATION_GRADIENT_F32_H
#define TINYODL_BATCH_NORMALIZATION_GRADIENT_F32_H

#include <stdint.h>

#include "learner_f32.h"

static inline void batch_normalization_scale_gradient_f32(
    int32_t batch, int32_t channels, int32_t positions, const float *restrict gy,
    const float *restrict x, const float *restrict mean, const float *restrict rstd,
    const learner_f32 *learner)
{
    for (int32_t c = 0; c < channels; c++) {
        float sum = 0.0f;
        for (int32_t n = 0; n < batch; n++) {
            const int32_t at = (n * channels + c) * positions;
            for (int32_t p = at; p < at + positions; p++) {
                sum += gy[p] * ((x[p] - mean[c]) * rstd[c]);
            }
        }
        learner_take_f32(learner, c, sum);
    }
}

static inline void batch_normalization_bias_gradient_f32(int32_t batch, int32_t channels,
                                                         int32_t positions,
                                                         const float *restrict gy,
                                                         const learner_f32 *learner)
{
    for (int32_t c = 0; c < channels; c++) {
        float sum = 0.0f;
        for (int32_t n = 0; n < batch; n++) {
            const int32_t at = (n * channels + c) * positions;
            for (int32_t p = at; p < at + positions; p++) {
                sum += gy[p];
            }
        }
        learner_take_f32(learner, c, sum);
    }
}

#endif
