/* Convolution of float32 maps, batch 1: forward and the gradient of the input.
 *
 * x  (in_channels, in_height, in_width)
 * w  (out_channels, in_channels / groups, kernel_height, kernel_width)
 * b  (out_channels), or NULL
 * y  (out_channels, out_height, out_width)
 *
 *   y[m, p]  = b[m] + sum over c, k of w[m, c, k] * x[c, p * stride + k * dilation - pad]
 *   gx[c, q] = sum over m, k of w[m, c, k] * gy[m, p], where p * stride + k * dilation - pad = q
 *
 * summed in the order b, channel, kernel row, kernel column.
 */
#ifndef TINYODL_CONV_F32_H
#define TINYODL_CONV_F32_H

#include <stddef.h>
#include <stdint.h>

#include "conv_shape.h"
#include "sliding_f32.h"
#include "tile_f32.h"

/// Forward ///

TILE_INLINE sliding outputs_as_windows(const conv_axis *a, int32_t in_pitch, int32_t out_pitch,
                                       int32_t tap_pitch)
{
    return (sliding){
        .windows = a->outputs,
        .stride = a->stride,
        .start = -a->pad,
        .taps = a->taps,
        .step = a->dilation,
        .elements = a->inputs,
        .element_pitch = in_pitch,
        .window_pitch = out_pitch,
        .tap_pitch = tap_pitch,
    };
}

TILE_INLINE void conv_f32(const conv_shape *s, const float *restrict x, const float *restrict w,
                          const float *restrict b, float *restrict y)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t out_group = s->out_channels / s->groups;
    const int32_t taps = s->kernel_height * s->kernel_width;
    const conv_axis rows = conv_rows(s), columns = conv_columns(s);
    const sliding down = outputs_as_windows(&rows, columns.inputs, columns.outputs, columns.taps);
    const sliding along = outputs_as_windows(&columns, 1, 1, 1);
    const mixing mix = {
        .filters = out_group,
        .written_map = rows.outputs * columns.outputs,
        .filter_pitch = in_group * taps,
        .channels = in_group,
        .read_map = rows.inputs * columns.inputs,
        .channel_pitch = taps,
    };
    const range inner = inner_windows(&along);
    const int32_t strip = strip_windows(&mix, &along);

    for (int32_t g = 0; g < s->groups; g++) {
        const float *w_group = w + g * out_group * mix.filter_pitch;
        const float *b_group = b ? b + g * out_group : NULL;
        const float *x_group = x + g * in_group * mix.read_map;
        float *y_group = y + g * out_group * mix.written_map;

        if (strip) {
            strips(&down, &along, strip, x_group, w_group, b_group, y_group);
        } else {
            slide(&mix, &down, &along, lanes_of(inner.end - inner.first, TILE_ROWS), x_group,
                  w_group, b_group, y_group);
        }
    }
}

/// Gradient of the input ///

/* The first tap through which inputs q with q % stride == phase meet an output; a->taps where there
 * is none. */
TILE_INLINE int32_t first_tap(const conv_axis *a, int32_t phase)
{
    int32_t k = 0;

    while (k < a->taps && (phase + a->pad - k * a->dilation) % a->stride != 0) {
        k++;
    }
    return k;
}

/* These inputs as windows on the outputs, which start with tap `first`: the higher a tap, the lower
 * the output. */
TILE_INLINE sliding inputs_as_windows(const conv_axis *a, int32_t phase, int32_t first,
                                      int32_t out_pitch, int32_t in_pitch, int32_t tap_pitch)
{
    int32_t period = 1; /* from tap to tap */

    while (period * a->dilation % a->stride != 0) {
        period++;
    }
    return (sliding){
        .windows = (a->inputs - phase + a->stride - 1) / a->stride,
        .stride = 1,
        .start = (phase + a->pad - first * a->dilation) / a->stride,
        .taps = (a->taps - first + period - 1) / period,
        .step = -(period * a->dilation / a->stride),
        .elements = a->outputs,
        .element_pitch = out_pitch,
        .window_pitch = a->stride * in_pitch,
        .tap_pitch = period * tap_pitch,
    };
}

TILE_INLINE void conv_input_gradient_f32(const conv_shape *s, const float *restrict gy,
                                         const float *restrict w, float *restrict gx)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t out_group = s->out_channels / s->groups;
    const int32_t taps = s->kernel_height * s->kernel_width;
    const conv_axis rows = conv_rows(s), columns = conv_columns(s);
    const mixing mix = {
        .filters = in_group,
        .written_map = rows.inputs * columns.inputs,
        .filter_pitch = taps,
        .channels = out_group,
        .read_map = rows.outputs * columns.outputs,
        .channel_pitch = in_group * taps,
    };
    /* Of each phase, about as many windows have all taps. */
    const int32_t reach = (columns.taps - 1) * columns.dilation;
    const int32_t inner = columns.stride == 1 && columns.pad == 0 ? columns.outputs - reach
                                      : (columns.inputs - reach) / columns.stride;
    const int32_t wide = lanes_of(inner > 1 ? inner : 1, TILE_ROWS);

    for (int32_t g = 0; g < s->groups; g++) {
        const float *w_group = w + g * out_group * mix.channel_pitch;
        const float *gy_group = gy + g * out_group * mix.read_map;
        float *gx_group = gx + g * in_group * mix.written_map;

        for (int32_t i = 0; i < rows.stride; i++) {
            const int32_t kh = first_tap(&rows, i);
            const sliding down = inputs_as_windows(&rows, i, kh, columns.outputs, columns.inputs,
                                                   columns.taps);

            for (int32_t j = 0; j < columns.stride; j++) {
                const int32_t kw = first_tap(&columns, j);
                const sliding along = inputs_as_windows(&columns, j, kw, 1, 1, 1);
                const float *w_taps = w_group + kh * columns.taps + kw;
                float *from = gx_group + i * columns.inputs + j;
                const int32_t strip = strip_windows(&mix, &along);

                if (rows.stride == 1 && columns.stride == 1 && strip) {
                    strips(&down, &along, strip, gy_group, w_taps, NULL, from);
                } else {
                    slide(&mix, &down, &along, wide, gy_group, w_taps, NULL, from);
                }
            }
        }
    }
}

#endif
