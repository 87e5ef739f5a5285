/* Gradients of a normalisation's scale and bias, handed to the learner element by element.
 *
 *   gscale[c] = sum of gy * (x - mean) * rstd        gbias[c] = sum of gy        over all of channel c
 */
#ifndef TINYODL_NORMALIZATION_GRADIENT_F32_H
#define TINYODL_NORMALIZATION_GRADIENT_F32_H

#include <stdint.h>

#include "learner_f32.h"
#include "normalization_f32.h"

static inline void normalization_scale_gradient_f32(const normalization_shape *s,
                                                    const float *restrict gy,
                                                    const float *restrict x,
                                                    const float *restrict mean,
                                                    const float *restrict rstd,
                                                    const learner_f32 *learner)
{
    for (int32_t channel = 0; channel < s->groups * s->channels; channel++) {
        const int32_t c = channel % s->channels;
        float sum = 0.0f;

        for (int32_t row = channel / s->channels; row < s->rows; row += s->groups) {
            const int32_t at = (row * s->channels + c) * s->positions;
            for (int32_t p = at; p < at + s->positions; p++) {
                sum += gy[p] * ((x[p] - mean[row]) * rstd[row]);
            }
        }
        learner_take_f32(learner, channel, sum);
    }
}

static inline void normalization_bias_gradient_f32(const normalization_shape *s,
                                                   const float *restrict gy,
                                                   const learner_f32 *learner)
{
    for (int32_t channel = 0; channel < s->groups * s->channels; channel++) {
        const int32_t c = channel % s->channels;
        float sum = 0.0f;

        for (int32_t row = channel / s->channels; row < s->rows; row += s->groups) {
            const int32_t at = (row * s->channels + c) * s->positions;
            for (int32_t p = at; p < at + s->positions; p++) {
                sum += gy[p];
            }
        }
        learner_take_f32(learner, channel, sum);
    }
}

#endif
