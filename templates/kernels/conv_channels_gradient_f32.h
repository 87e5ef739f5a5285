/* The gradient of the learning weights of a convolution of which some output channels learn: those of
 * `learning` channels, channel[0] and so on, in this order. `part` is the convolution of one filter.
 * The order of sums is that of conv_gradient_f32.h.
 */
#ifndef TINYODL_CONV_CHANNELS_GRADIENT_F32_H
#define TINYODL_CONV_CHANNELS_GRADIENT_F32_H

#include "conv_gradient_f32.h"

TILE_INLINE void conv_channels_weight_gradient_f32(const conv_shape *part, int32_t learning,
                                                   const uint16_t *channel, int32_t depthwise,
                                                   const float *restrict gy,
                                                   const float *restrict x,
                                                   const learner_f32 *learner)
{
    const conv_axis down = conv_rows(part), along = conv_columns(part);
    const strip_sizes strips = strips_of(&along);
    const int32_t in_map = down.inputs * along.inputs, out_map = down.outputs * along.outputs;
    const int32_t pitch = part->in_channels * down.taps * along.taps;

    for (int32_t i = 0; i < learning; i++) {
        const float *gy_map = any_array(gy + channel[i] * out_map);
        const float *x_maps = any_array(x + (depthwise ? channel[i] * in_map : 0));

        if (part->in_channels == 1 && strips.size > 0) {
            depthwise_gradient_f32(&down, &along, strips, i * pitch, gy_map, x_maps, learner);
        } else {
            conv_group_gradient_f32(&down, &along, 1, part->in_channels, i * pitch, gy_map, x_maps,
                                    learner);
        }
    }
}

#endif
