/* Between float32 and int8, with a scale for each channel and one zero point.
 *
 *   quantize    y[c] = clamp(round(x[c] / scales[c]) + zero_point)
 *   dequantize  y[c] = scales[c] * (x[c] - zero_point)
 */
#ifndef TINYODL_QUANTIZE_CHANNELS_I8_H
#define TINYODL_QUANTIZE_CHANNELS_I8_H

#include <stdint.h>

#include "quantize.h"

static inline void quantize_channels_i8(int32_t channels, int32_t plane, const output_i8 *o,
                                        const float *scales, const float *x, int8_t *y,
                                        uint8_t *mask)
{
    for (int32_t c = 0; c < channels; c++) {
        for (int32_t i = c * plane; i < (c + 1) * plane; i++) {
            y[i] = output_of_v(o, x[i] / scales[c], mask, i);
        }
    }
}

static inline void dequantize_channels_i8(int32_t channels, int32_t plane, int32_t zero_point,
                                          const float *scales, const int8_t *x,
                                          float *restrict y)
{
    for (int32_t c = 0; c < channels; c++) {
        for (int32_t i = c * plane; i < (c + 1) * plane; i++) {
            y[i] = (float)(x[i] - zero_point) * scales[c];
        }
    }
}

#endif
