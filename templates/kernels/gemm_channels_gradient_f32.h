/* The gradient of the learning weights of a dense layer of which some outputs learn: those of
 * `learning` outputs, channel[0] and so on, in this order (gemm_gradient_f32.h).
 */
#ifndef TINYODL_GEMM_CHANNELS_GRADIENT_F32_H
#define TINYODL_GEMM_CHANNELS_GRADIENT_F32_H

#include "learner_f32.h"

static inline void gemm_channels_weight_gradient_f32(int32_t learning, int32_t k,
                                                     const uint16_t *channel,
                                                     const float *restrict gy,
                                                     const float *restrict x,
                                                     const learner_f32 *learner)
{
    for (int32_t i = 0; i < learning; i++) {
        float g[TILE_LANES] = {gy[channel[i]]};

        learner_prepare_f32(learner, 1, g);
        for (int32_t j = 0; j < k; j++) {
            learner_take_products_f32(learner, 1, i * k + j, k, g, x[j]);
        }
    }
}

#endif
