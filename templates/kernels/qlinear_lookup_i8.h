/* Any function of one int8 value, as a table: entry i is for q = i - 128.
 *
 *   y = table[x]                  rows [first, end) of each channel; y may be x itself
 *   gx = gy * derivative[x]       gx may be gy itself
 */
#ifndef TINYODL_QLINEAR_LOOKUP_I8_H
#define TINYODL_QLINEAR_LOOKUP_I8_H

#include <stdint.h>

#include "rows.h"

static inline __attribute__((always_inline)) void
qlinear_lookup_i8(const map_shape *s, int32_t x_rows, int32_t y_rows, int32_t first, int32_t end,
                  const int8_t *restrict table, const int8_t *x, int8_t *y)
{
    for (int32_t c = 0; c < s->channels; c++) {
        for (int32_t row = first; row < end; row++) {
            const int8_t *x_row = x + row_start(s, x_rows, c, row);
            int8_t *y_row = y + row_start(s, y_rows, c, row);
            for (int32_t w = 0; w < s->width; w++) {
                y_row[w] = table[x_row[w] + 128];
            }
        }
    }
}

static inline void qlinear_lookup_gradient_f32(int32_t n, const float *gy, const int8_t *x,
                                               const float *restrict derivative, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = gy[i] * derivative[x[i] + 128];
    }
}

#endif
