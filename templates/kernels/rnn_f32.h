/* A simple recurrent layer: forward, and the gradient of what enters the activation f.
 *
 *   h[t] = f(w x[t] + wb + r h[t-1] + rb)            f: tanh, or relu
 */
#ifndef TINYODL_RNN_F32_H
#define TINYODL_RNN_F32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "math_f32.h"
#include "recurrent_shape.h"

static inline void rnn_f32(const recurrent_shape *s, int32_t relu, const float *restrict x,
                           const float *restrict w, const float *restrict r,
                           const float *restrict b, const float *restrict first, float *restrict y,
                           float *restrict last)
{
    for (int32_t d = 0; d < s->directions; d++) {
        const recurrent_weights of = weights_of_direction(s, d, w, r, b);

        for (int32_t n = 0; n < s->batch; n++) {
            for (int32_t step = 0; step < s->steps; step++) {
                const float *x_t = x + x_offset(s, d, n, step);
                const float *h = state_before(s, d, n, step, y, first);
                float *y_t = y + y_offset(s, d, n, step);

                for (int32_t i = 0; i < s->hidden; i++) {
                    const float sum = input_sum(s, of, i, x_t) + state_sum(s, of, i, h);
                    y_t[i] = relu ? (sum > 0.0f ? sum : 0.0f) : tanh_f32(sum);
                }
            }
            memcpy(last + state_offset(s, d, n), y + y_offset(s, d, n, s->steps - 1),
                   (size_t)s->hidden * sizeof(float));
        }
    }
}

/* Backwards through time. `deltas` (directions, batch, steps, hidden) gets the gradients of what
 * enters f; `carry`, laid out as the first state, ends as the gradient of that.
 *
 *   gh = gy[t] + r^T delta[t+1]        delta[t] = gh * f'      from h: 1 - h^2, or h > 0
 *
 * `gy` and `glast`, the gradients of all states and of the last one, may be NULL. */
static inline void rnn_gradient_f32(const recurrent_shape *s, int32_t relu,
                                    const float *restrict gy, const float *restrict glast,
                                    const float *restrict r, const float *restrict y,
                                    float *restrict deltas, float *restrict carry)
{
    for (int32_t d = 0; d < s->directions; d++) {
        for (int32_t n = 0; n < s->batch; n++) {
            float *gh = carry + state_offset(s, d, n);
            begin_carry(s, glast ? glast + state_offset(s, d, n) : NULL, gh);

            for (int32_t step = s->steps - 1; step >= 0; step--) {
                const int32_t at = y_offset(s, d, n, step);
                float *delta = deltas + gates_offset(s, d, n, step, s->hidden);

                for (int32_t i = 0; i < s->hidden; i++) {
                    const float h = y[at + i];
                    const float g = gy ? gh[i] + gy[at + i] : gh[i];
                    delta[i] = relu ? (h > 0.0f ? g : 0.0f) : g * (1.0f - h * h);
                    gh[i] = 0.0f;
                }
                add_transposed_product(s, s->hidden, r + d * s->hidden * s->hidden, delta, gh);
            }
        }
    }
}

#endif
