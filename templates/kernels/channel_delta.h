/* How much each channel of a map matters to the loss. Nothing is learned.
 *
 *   delta[c] += (sum over p of g[c, p] * a[c, p])^2
 *   shift[c] += (sum over p of g[c, p])^2            where shift is not NULL
 *
 * summed in the order of the positions p. g and a have element (c, p) at c * channel_step + p *
 * position_step; an int8 map has the real values scale * (a - zero_point).
 */
#ifndef TINYODL_CHANNEL_DELTA_H
#define TINYODL_CHANNEL_DELTA_H

#include <stddef.h>
#include <stdint.h>

static inline void channel_delta_add(int32_t c, float product, float gradient, float *delta,
                                     float *shift)
{
    delta[c] += product * product;
    if (shift) {
        shift[c] += gradient * gradient;
    }
}

static inline void channel_delta_f32(int32_t channels, int32_t positions, int32_t channel_step,
                                     int32_t position_step, const float *g, const float *a,
                                     float *delta, float *shift)
{
    for (int32_t c = 0; c < channels; c++) {
        float product = 0.0f, gradient = 0.0f;

        for (int32_t p = 0; p < positions; p++) {
            const int32_t at = c * channel_step + p * position_step;
            product += g[at] * a[at];
            gradient += g[at];
        }
        channel_delta_add(c, product, gradient, delta, shift);
    }
}

static inline void channel_delta_i8(int32_t channels, int32_t positions, int32_t channel_step,
                                    int32_t position_step, float scale, int32_t zero_point,
                                    const float *g, const int8_t *a, float *delta, float *shift)
{
    for (int32_t c = 0; c < channels; c++) {
        float product = 0.0f, gradient = 0.0f;

        for (int32_t p = 0; p < positions; p++) {
            const int32_t at = c * channel_step + p * position_step;
            product += g[at] * (float)(a[at] - zero_point);
            gradient += g[at];
        }
        channel_delta_add(c, scale * product, gradient, delta, shift);
    }
}

#endif
