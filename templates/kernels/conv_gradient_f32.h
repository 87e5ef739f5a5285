/* Gradients of a convolution's weight and bias, batch 1. Each element of the gradient is complete
 * before it goes to the parameter's learner, so no gradient array is needed.
 *
 *   gw[m, c, k] = sum over p of gy[m, p] * x[c, p * stride + k * dilation - pad]
 *   gb[m]       = sum over p of gy[m, p]
 *
 * summed in the order output row, output column.
 */
#ifndef TINYODL_CONV_GRADIENT_F32_H
#define TINYODL_CONV_GRADIENT_F32_H

#include <stddef.h>
#include <stdint.h>

#include "conv_shape.h"
#include "learner_f32.h"
#include "tile_f32.h"

/// Several filters or channels: tiles of both, tap by tap ///

/* The columns of a tile are channels, or taps of a kernel row where there are few channels and all
 * these taps are on the map. They lie `pitch` apart in x and `w_pitch` in the weight. */
typedef struct {
    int32_t channels, taps, pitch, w_pitch;
} gradient_columns;

TILE_INLINE gradient_columns gradient_columns_of(int32_t channels, int32_t map, int32_t kernel,
                                                 const conv_axis *along)
{
    const int32_t reach = (along->outputs - 1) * along->stride + (along->taps - 1) * along->dilation;

    if (channels < 3 && along->pad == 0 && reach < along->inputs) {
        return (gradient_columns){1, lanes_of(along->taps, 5), along->dilation, 1};
    }
    return (gradient_columns){lanes_of(channels, TILE_ROWS), 1, map, kernel};
}

/* Adds up the outputs that are on the map. */
TILE_INLINE void conv_gradient_tile(const conv_axis *down, const conv_axis *along, int32_t filters,
                                    int32_t wide, int32_t pitch, int32_t kh, range on,
                                    const float *gy, const float *x, tile_f32 *sums)
{
    const int32_t dh = kh * down->dilation - down->pad;
    const range rows = outputs_on_map(dh, down->stride, down->outputs, down->inputs);

    tile_start(filters, wide, sums, NULL, 0, 0);
    for (int32_t oh = rows.first; oh < rows.end; oh++) {
        const float *gy_row = gy + oh * along->outputs;
        const float *x_row = x + (oh * down->stride + dh) * along->inputs;

        for (int32_t ow = on.first; ow < on.end; ow++) {
            float of_rows[TILE_ROWS], of_columns[TILE_LANES];
            lanes_load(filters, of_rows, gy_row + ow, down->outputs * along->outputs);
            lanes_load(wide, of_columns, x_row + ow * along->stride, pitch);
            tile_add(filters, wide, sums, of_rows, of_columns);
        }
    }
}

/* One group, whose first weight is element `first`. */
TILE_INLINE void conv_group_gradient_f32(const conv_axis *down, const conv_axis *along,
                                         int32_t out_group, int32_t in_group, int32_t first,
                                         const float *gy, const float *x,
                                         const learner_f32 *learner)
{
    const int32_t in_map = down->inputs * along->inputs, out_map = down->outputs * along->outputs;
    const int32_t kernel = down->taps * along->taps;
    const int32_t filters = lanes_of(out_group, TILE_ROWS);
    const gradient_columns of = gradient_columns_of(in_group, in_map, kernel, along);

    for (int32_t m = 0; m < out_group; m += filters) {
        const int32_t filter = turn_start(m, filters, out_group);

        for (int32_t c = 0; c < in_group; c += of.channels) {
            const int32_t channel = turn_start(c, of.channels, in_group);

            for (int32_t kh = 0; kh < down->taps; kh++) {
                for (int32_t k = 0; k < along->taps; k += of.taps) {
                    const int32_t kw = turn_start(k, of.taps, along->taps);
                    const int32_t dw = kw * along->dilation - along->pad;
                    const range on =
                        of.taps > 1 ? (range){0, along->outputs}
                                    : outputs_on_map(dw, along->stride, along->outputs, along->inputs);
                    tile_f32 sums;

                    conv_gradient_tile(down, along, filters, of.channels * of.taps, of.pitch, kh, on,
                                       gy + filter * out_map, x + channel * in_map + dw, &sums);
                    learner_take_tile_f32(
                        learner, filters, of.channels * of.taps, m - filter, c - channel + k - kw,
                        &sums, first + (filter * in_group + channel) * kernel + kh * along->taps + kw,
                        in_group * kernel, of.w_pitch);
                }
            }
        }
    }
}

/// One filter of one channel: a kernel row at a time, its taps written out ///

/* Outputs from `column` on; `inside`: tap k is on the map for all of them. */
TILE_INLINE void gradient_strip_tap(const conv_axis *along, int32_t outputs, int32_t column,
                                    int inside, int32_t k, float *sum, const float *g,
                                    const float *x_row)
{
    float elements[TILE_LANES];

    if (k < along->taps) {
        const int32_t at = column * along->stride + k * along->dilation - along->pad;
        const range on = inside ? (range){0, outputs}
                                : outputs_on_map(at, along->stride, outputs, along->inputs);
        const int32_t count = on.end - on.first;

        lanes_load(count, elements, x_row + at + on.first * along->stride, along->stride);
        lanes_sum(count, sum, g + on.first, elements);
    }
}

TILE_INLINE void gradient_strip(const conv_axis *along, int32_t outputs, int32_t column, int inside,
                                float *sums, const float *gy_row, const float *x_row)
{
    float g[TILE_LANES];

    lanes_load(outputs, g, gy_row + column, 1);
    gradient_strip_tap(along, outputs, column, inside, 0, sums + 0, g, x_row);
    gradient_strip_tap(along, outputs, column, inside, 1, sums + 1, g, x_row);
    gradient_strip_tap(along, outputs, column, inside, 2, sums + 2, g, x_row);
    gradient_strip_tap(along, outputs, column, inside, 3, sums + 3, g, x_row);
    gradient_strip_tap(along, outputs, column, inside, 4, sums + 4, g, x_row);
    gradient_strip_tap(along, outputs, column, inside, 5, sums + 5, g, x_row);
    gradient_strip_tap(along, outputs, column, inside, 6, sums + 6, g, x_row);
}

/* How a row of outputs is cut: into strips of `size` outputs behind a first strip with the remainder.
 * size is 0 if taps leave the map in strips between the first and the last. */
typedef struct {
    int32_t first, size;
} strip_sizes;

TILE_INLINE strip_sizes strips_of(const conv_axis *along)
{
    const int32_t size = along->outputs < TILE_LANES ? along->outputs : TILE_LANES / 2;
    const int32_t first = size + along->outputs % size;
    const range a = outputs_on_map(-along->pad, along->stride, along->outputs, along->inputs);
    const range b = outputs_on_map((along->taps - 1) * along->dilation - along->pad, along->stride,
                                   along->outputs, along->inputs);
    const int fits = along->taps <= STRIP_TAPS && a.first <= first &&
                     b.end >= along->outputs - size;

    return (strip_sizes){first, fits ? size : 0};
}

TILE_INLINE void depthwise_gradient_f32(const conv_axis *down, const conv_axis *along,
                                        strip_sizes strips, int32_t first, const float *gy,
                                        const float *x, const learner_f32 *learner)
{
    const int32_t last = along->outputs - strips.size;

    for (int32_t kh = 0; kh < down->taps; kh++) {
        const int32_t dh = kh * down->dilation - down->pad;
        const range rows = outputs_on_map(dh, down->stride, down->outputs, down->inputs);
        tile_f32 sums;

        tile_start(1, along->taps, &sums, NULL, 0, 0);
        for (int32_t oh = rows.first; oh < rows.end; oh++) {
            const float *gy_row = gy + oh * along->outputs;
            const float *x_row = x + (oh * down->stride + dh) * along->inputs;

            gradient_strip(along, strips.first, 0, 0, sums.row[0], gy_row, x_row);
            for (int32_t column = strips.first; column < last; column += strips.size) {
                gradient_strip(along, strips.size, column, 1, sums.row[0], gy_row, x_row);
            }
            if (last > 0) {
                gradient_strip(along, strips.size, last, 0, sums.row[0], gy_row, x_row);
            }
        }
        learner_take_tile_f32(learner, 1, along->taps, 0, 0, &sums, first + kh * along->taps, 0, 1);
    }
}

/// The layer ///

TILE_INLINE void conv_weight_gradient_f32(const conv_shape *s, const float *restrict gy,
                                          const float *restrict x, const learner_f32 *learner)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t out_group = s->out_channels / s->groups;
    const conv_axis down = conv_rows(s), along = conv_columns(s);
    const strip_sizes strips = strips_of(&along);

    for (int32_t g = 0; g < s->groups; g++) {
        const float *gy_group = any_array(gy + g * out_group * down.outputs * along.outputs);
        const float *x_group = any_array(x + g * in_group * down.inputs * along.inputs);
        const int32_t first = g * out_group * in_group * down.taps * along.taps;

        if (in_group == 1 && out_group == 1 && strips.size > 0) {
            depthwise_gradient_f32(&down, &along, strips, first, gy_group, x_group, learner);
        } else {
            conv_group_gradient_f32(&down, &along, out_group, in_group, first, gy_group, x_group,
                                    learner);
        }
    }
}

TILE_INLINE void conv_bias_gradient_f32(int32_t channels, int32_t positions,
                                        const float *restrict gy, const learner_f32 *learner)
{
    const int32_t lanes = lanes_of(channels, TILE_ROWS);

    for (int32_t m = 0; m < channels; m += lanes) {
        const int32_t channel = turn_start(m, lanes, channels);
        tile_f32 sums;

        tile_start(1, lanes, &sums, NULL, 0, 0);
        for (int32_t p = 0; p < positions; p++) {
            float g[TILE_LANES];
            lanes_load(lanes, g, gy + channel * positions + p, positions);
            lanes_add(lanes, sums.row[0], 1.0f, g);
        }
        learner_take_tile_f32(learner, 1, lanes, 0, m - channel, &sums, channel, 0, 1);
    }
}

#endif
