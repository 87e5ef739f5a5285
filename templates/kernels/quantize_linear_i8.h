/* Between float32 and int8, element by element.
 *
 *   quantize    y = clamp(round(x / scale) + zero_point)      rows [first, end) of each channel
 *   dequantize  y = scale * (x - zero_point)
 */
#ifndef TINYODL_QUANTIZE_LINEAR_I8_H
#define TINYODL_QUANTIZE_LINEAR_I8_H

#include <stdint.h>

#include "quantize.h"
#include "rows.h"

/* y may begin where x does: its elements are smaller. */
static inline __attribute__((always_inline)) void
quantize_linear_i8(const map_shape *s, int32_t x_rows, int32_t y_rows, int32_t first, int32_t end,
                   float scale, const output_i8 *o, const float *x, int8_t *y, uint8_t *mask)
{
    for (int32_t c = 0; c < s->channels; c++) {
        for (int32_t row = first; row < end; row++) {
            const float *x_row = x + row_start(s, x_rows, c, row);
            int8_t *y_row = y + row_start(s, y_rows, c, row);
            const int32_t i = row_start(s, s->height, c, row);
            for (int32_t w = 0; w < s->width; w++) {
                y_row[w] = output_of_v(o, x_row[w] / scale, mask, i + w);
            }
        }
    }
}

static inline void dequantize_linear_i8(int32_t n, float scale, int32_t zero_point,
                                        const int8_t *x, float *restrict y)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = (float)(x[i] - zero_point) * scale;
    }
}

#endif
