/* Batch normalisation with fixed statistics: forward and the gradient of the input.
 *
 * x, y  (batch, channels, positions); scale, bias, mean, rstd (channels)
 *
 *   y = n * scale + bias        n = (x - mean) * rstd        gx = gy * (scale * rstd)
 *
 * The output may be the input's own memory.
 */
#ifndef TINYODL_BATCH_NORMALIZATION_F32_H
#define TINYODL_BATCH_NORMALIZATION_F32_H

#include <stdint.h>

static inline void batch_normalization_f32(int32_t batch, int32_t channels, int32_t positions,
                                           const float *x, const float *scale, const float *bias,
                                           const float *mean, const float *rstd, float *y)
{
    for (int32_t n = 0; n < batch; n++) {
        for (int32_t c = 0; c < channels; c++) {
            for (int32_t p = 0; p < positions; p++) {
                *y++ = (*x++ - mean[c]) * rstd[c] * scale[c] + bias[c];
            }
        }
    }
}

static inline void batch_normalization_input_gradient_f32(int32_t batch, int32_t channels,
                                                          int32_t positions, const float *gy,
                                                          const float *scale, const float *rstd,
                                                          float *gx)
{
    for (int32_t n = 0; n < batch; n++) {
        for (int32_t c = 0; c < channels; c++) {
            for (int32_t p = 0; p < positions; p++) {
                *gx++ = *gy++ * (scale[c] * rstd[c]);
            }
        }
    }
}

#endif
