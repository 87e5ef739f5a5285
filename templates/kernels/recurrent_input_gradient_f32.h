/* The gradient of a recurrent layer's input from the deltas of its gates, in both directions:
 *
 *   gx[t, j] = sum over i of w[i, j] * delta[t, i]
 */
#ifndef TINYODL_RECURRENT_INPUT_GRADIENT_F32_H
#define TINYODL_RECURRENT_INPUT_GRADIENT_F32_H

#include <stdint.h>

#include "recurrent_shape.h"

static inline void recurrent_input_gradient_f32(const recurrent_shape *s, int32_t width,
                                                const float *restrict deltas,
                                                const float *restrict w, float *restrict gx)
{
    const int32_t rows = s->gates * s->hidden;

    for (int32_t i = 0; i < s->steps * s->batch * s->inputs; i++) {
        gx[i] = 0.0f;
    }
    for (int32_t d = 0; d < s->directions; d++) {
        for (int32_t n = 0; n < s->batch; n++) {
            for (int32_t step = 0; step < s->steps; step++) {
                const float *delta = deltas + gates_offset(s, d, n, step, width);
                const float *row = w + d * rows * s->inputs;
                float *gx_t = gx + x_offset(s, d, n, step);

                for (int32_t i = 0; i < rows; i++, row += s->inputs) {
                    for (int32_t j = 0; j < s->inputs; j++) {
                        gx_t[j] += row[j] * delta[i];
                    }
                }
            }
        }
    }
}

#endif
