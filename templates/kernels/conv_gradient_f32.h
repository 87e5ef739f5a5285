/* Gradients of a convolution's weight and bias, batch 1. Each element of the gradient is complete
 * before it goes to the parameter's learner, so no gradient array is needed.
 *
 *   gw[m, c, k] = sum over p of gy[m, p] * x[c, p * stride + k * dilation - pad]
 *   gb[m]       = sum over p of gy[m, p]
 */
#ifndef TINYODL_CONV_GRADIENT_F32_H
#define TINYODL_CONV_GRADIENT_F32_H

#include <stdint.h>

#include "conv_shape.h"
#include "learner_f32.h"

/* Summed in the order output row, output column. */
static inline __attribute__((always_inline)) void conv_weight_gradient_f32(const conv_shape *s, const float *restrict gy,
                                     const float *restrict x, const learner_f32 *learner)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t out_group = s->out_channels / s->groups;
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;
    int32_t i = 0;

    for (int32_t m = 0; m < s->out_channels; m++) {
        const float *gy_map = gy + m * out_map;
        const float *x_map = x + (m / out_group) * in_group * in_map;

        for (int32_t c = 0; c < in_group; c++, x_map += in_map) {
            for (int32_t kh = 0; kh < s->kernel_height; kh++) {
                const int32_t dh = kh * s->dilation_height - s->pad_top;
                const range rows =
                    outputs_on_map(dh, s->stride_height, s->out_height, s->in_height);

                for (int32_t kw = 0; kw < s->kernel_width; kw++) {
                    const int32_t dw = kw * s->dilation_width - s->pad_left;
                    const range columns =
                        outputs_on_map(dw, s->stride_width, s->out_width, s->in_width);
                    float sum = 0.0f;

                    for (int32_t oh = rows.first; oh < rows.end; oh++) {
                        const float *gy_row = gy_map + oh * s->out_width;
                        const float *x_row =
                            x_map + (oh * s->stride_height + dh) * s->in_width + dw;

                        for (int32_t ow = columns.first; ow < columns.end; ow++) {
                            sum += gy_row[ow] * x_row[ow * s->stride_width];
                        }
                    }
                    learner_take_f32(learner, i++, sum);
                }
            }
        }
    }
}

static inline __attribute__((always_inline)) void conv_bias_gradient_f32(int32_t channels, int32_t positions, const float *restrict gy,
                                   const learner_f32 *learner)
{
    for (int32_t m = 0; m < channels; m++) {
        float sum = 0.0f;
        for (int32_t p = 0; p < positions; p++) {
            sum += *gy++;
        }
        learner_take_f32(learner, m, sum);
    }
}

#endif
