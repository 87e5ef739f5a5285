/* The sum of two int8 maps of one shape (channels, height, width): rows [first, end) of each channel.
 *
 *   v = (a - a_zero_point) * a_factor + (b - b_zero_point) * b_factor      factor = own scale / y's
 *   y = clamp(round(v) + zero_point)
 *
 * y may be a, b or both.
 */
#ifndef TINYODL_QLINEAR_ADD_I8_H
#define TINYODL_QLINEAR_ADD_I8_H

#include <stdint.h>

#include "quantize.h"
#include "rows.h"

typedef struct {
    int32_t a_zero_point, b_zero_point;
    float a_factor, b_factor;
} addends_i8;

static inline __attribute__((always_inline)) void
qlinear_add_i8(const map_shape *s, int32_t a_rows, int32_t b_rows, int32_t y_rows, int32_t first,
               int32_t end, const addends_i8 *of, const output_i8 *o, const int8_t *a,
               const int8_t *b, int8_t *y, uint8_t *mask)
{
    for (int32_t c = 0; c < s->channels; c++) {
        for (int32_t row = first; row < end; row++) {
            const int8_t *a_row = a + row_start(s, a_rows, c, row);
            const int8_t *b_row = b + row_start(s, b_rows, c, row);
            int8_t *y_row = y + row_start(s, y_rows, c, row);
            const int32_t i = row_start(s, s->height, c, row);
            for (int32_t w = 0; w < s->width; w++) {
                const float v = (float)(a_row[w] - of->a_zero_point) * of->a_factor +
                                (float)(b_row[w] - of->b_zero_point) * of->b_factor;
                y_row[w] = output_of_v(o, v, mask, i + w);
            }
        }
    }
}

#endif
