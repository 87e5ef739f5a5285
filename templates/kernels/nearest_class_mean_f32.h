/* Nearest class mean, in a dense layer with n outputs on k inputs, on one sample.
 *
 *   m = mean of the samples of a class       |x - m|^2 = |x|^2 - (2 m . x - |m|^2)
 *
 * so the layer's weights are 2 m and its biases -|m|^2: the largest output is that of the nearest mean. A
 * class of which no sample came has the bias NO_CLASS. Of the sample's class, with N samples before it:
 *
 *   m += (x - m) / (N + 1)       |m|^2 is summed from input 0 to input k - 1
 *
 * With `forgetting` below 1 the N before it count that much less. Mensink et al.: Distance-based image
 * classification, generalizing to new classes at near-zero cost, 2013.
 */
#ifndef TINYODL_NEAREST_CLASS_MEAN_F32_H
#define TINYODL_NEAREST_CLASS_MEAN_F32_H

#include <stdint.h>

static inline void nearest_class_mean_f32(int32_t k, float forgetting, int32_t label,
                                          const float *restrict x, float *restrict w,
                                          float *restrict b, float *restrict counts)
{
    const float count = forgetting * counts[label] + 1.0f;
    const float share = 1.0f / count;
    float *twice = w + label * k;
    float square = 0.0f; /* of 2 m */

    for (int32_t i = 0; i < k; i++) {
        twice[i] += (2.0f * x[i] - twice[i]) * share;
        square += twice[i] * twice[i];
    }
    b[label] = -0.25f * square;
    counts[label] = count;
}

#endif
