/* A convolution of one group, or a depthwise one, of which some output channels learn their weights
 * (channel_rows.h). The formulas and the order of sums are those of conv_f32.h: the same bits.
 *
 * `part` is the convolution of `part->out_channels` filters, whose weights are first laid side by side
 * in `scratch`; of one filter they are read where they lie. For the gradient of the input it is that of
 * `part->in_channels` channels of x. Of a depthwise one it is that of one channel.
 */
#ifndef TINYODL_CONV_CHANNELS_F32_H
#define TINYODL_CONV_CHANNELS_F32_H

#include "channel_rows.h"
#include "conv_f32.h"

TILE_INLINE void conv_channels_f32(const conv_shape *part, int32_t channels, int32_t learning,
                                   int32_t pitch, const uint16_t *place, const float *w,
                                   const float *rest, const float *restrict x,
                                   const float *restrict b, float *restrict y,
                                   float *restrict scratch)
{
    const channel_rows rows = {w, rest, place, learning, pitch};
    const int32_t count = part->out_channels, map = part->out_height * part->out_width;

    for (int32_t i = 0; i < channels; i += count) {
        const int32_t m = turn_start(i, count, channels);
        const float *filters = channel_row(&rows, m);

        if (count > 1) {
            gather_rows(&rows, m, count, 0, rows.pitch, scratch);
            filters = scratch;
        }
        conv_f32(part, x, filters, b ? b + m : NULL, y + m * map);
    }
}

TILE_INLINE void conv_channels_input_gradient_f32(const conv_shape *part, int32_t channels,
                                                  int32_t learning, int32_t pitch,
                                                  const uint16_t *place, const float *w,
                                                  const float *rest, const float *restrict gy,
                                                  float *restrict gx, float *restrict scratch)
{
    const channel_rows rows = {w, rest, place, learning, pitch};
    const int32_t count = part->in_channels, map = part->in_height * part->in_width;
    const int32_t taps = part->kernel_height * part->kernel_width;

    for (int32_t i = 0; i < channels; i += count) {
        const int32_t c = turn_start(i, count, channels);

        gather_rows(&rows, 0, part->out_channels, c * taps, count * taps, scratch);
        conv_input_gradient_f32(part, gy, scratch, gx + c * map);
    }
}

/// Depthwise ///

TILE_INLINE void depthwise_channels_f32(const conv_shape *part, int32_t channels, int32_t learning,
                                        int32_t pitch, const uint16_t *place, const float *w,
                                        const float *rest, const float *restrict x,
                                        const float *restrict b, float *restrict y)
{
    const channel_rows rows = {w, rest, place, learning, pitch};
    const int32_t in_map = part->in_height * part->in_width;
    const int32_t out_map = part->out_height * part->out_width;

    for (int32_t m = 0; m < channels; m++) {
        conv_f32(part, x + m * in_map, channel_row(&rows, m), b ? b + m : NULL, y + m * out_map);
    }
}

TILE_INLINE void depthwise_channels_input_gradient_f32(const conv_shape *part, int32_t channels,
                                                       int32_t learning, int32_t pitch,
                                                       const uint16_t *place, const float *w,
                                                       const float *rest, const float *restrict gy,
                                                       float *restrict gx)
{
    const channel_rows rows = {w, rest, place, learning, pitch};
    const int32_t in_map = part->in_height * part->in_width;
    const int32_t out_map = part->out_height * part->out_width;

    for (int32_t m = 0; m < channels; m++) {
        conv_input_gradient_f32(part, gy + m * out_map, channel_row(&rows, m), gx + m * in_map);
    }
}

#endif
