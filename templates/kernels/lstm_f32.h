/* A layer of long short-term memory: forward, and the gradients of what enters the gates.
 *
 *   i = sigmoid(wi x[t] + wbi + ri h[t-1] + rbi)          o, f likewise
 *   g = tanh(wg x[t] + wbg + rg h[t-1] + rbg)
 *   c[t] = f c[t-1] + i g
 *   h[t] = o tanh(c[t])
 *
 * The rows of w, r and b are ordered i, o, f, g.
 */
#ifndef TINYODL_LSTM_F32_H
#define TINYODL_LSTM_F32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "math_f32.h"
#include "recurrent_shape.h"

/* gates (4, hidden) of one step: i, o, f, g; and c from the cells before, zero where that is NULL */
static inline void lstm_gates_f32(const recurrent_shape *s, recurrent_weights of, const float *x,
                                  const float *h, const float *before, float *gates, float *c)
{
    const int32_t hidden = s->hidden;
    const float *i = gates, *f = gates + 2 * hidden, *g = gates + 3 * hidden;

    for (int32_t row = 0; row < 4 * hidden; row++) {
        const float sum = input_sum(s, of, row, x) + state_sum(s, of, row, h);
        gates[row] = row < 3 * hidden ? sigmoid_f32(sum) : tanh_f32(sum);
    }
    for (int32_t j = 0; j < hidden; j++) {
        c[j] = (before ? f[j] * before[j] : 0.0f) + i[j] * g[j];
    }
}

/* `gates` (4, hidden) is for the gates of one step after the other; `last_c` holds the cells. */
static inline void lstm_f32(const recurrent_shape *s, const float *restrict x,
                            const float *restrict w, const float *restrict r,
                            const float *restrict b, const float *restrict first,
                            const float *restrict first_c, float *restrict y,
                            float *restrict last, float *restrict last_c, float *restrict gates)
{
    const float *o = gates + s->hidden;

    for (int32_t d = 0; d < s->directions; d++) {
        const recurrent_weights of = weights_of_direction(s, d, w, r, b);

        for (int32_t n = 0; n < s->batch; n++) {
            const int32_t at = state_offset(s, d, n);
            float *c = last_c + at;

            for (int32_t step = 0; step < s->steps; step++) {
                const float *h = state_before(s, d, n, step, y, first);
                const float *before = step > 0 ? c : first_c ? first_c + at : NULL;
                float *y_t = y + y_offset(s, d, n, step);

                lstm_gates_f32(s, of, x + x_offset(s, d, n, step), h, before, gates, c);
                for (int32_t j = 0; j < s->hidden; j++) {
                    y_t[j] = o[j] * tanh_f32(c[j]);
                }
            }
            memcpy(last + at, y + y_offset(s, d, n, s->steps - 1),
                   (size_t)s->hidden * sizeof(float));
        }
    }
}

/* Backwards through one step: `gates` become deltas, the gradients of what enters them; `gh` and `gc`,
 * the gradients of h[t] and c[t], become those of h[t-1] and c[t-1].
 *
 *   gc += gh o (1 - tanh(c)^2)
 *   do = gh tanh(c) o (1 - o)      di = gc g i (1 - i)
 *   df = gc c[t-1] f (1 - f)       dg = gc i (1 - g^2)
 *   gc = gc f                      gh = ri^T di + ro^T do + rf^T df + rg^T dg */
static inline void lstm_step_gradient_f32(const recurrent_shape *s, const float *r, const float *c,
                                          const float *before, float *gates, float *gh, float *gc)
{
    const int32_t hidden = s->hidden;

    for (int32_t j = 0; j < hidden; j++) {
        const float i = gates[j], o = gates[hidden + j];
        const float f = gates[2 * hidden + j], g = gates[3 * hidden + j];
        const float t = tanh_f32(c[j]);
        const float cell = gc[j] + gh[j] * o * (1.0f - t * t);

        gates[j] = cell * g * i * (1.0f - i);
        gates[hidden + j] = gh[j] * t * o * (1.0f - o);
        gates[2 * hidden + j] = before ? cell * before[j] * f * (1.0f - f) : 0.0f;
        gates[3 * hidden + j] = cell * i * (1.0f - g * g);
        gc[j] = cell * f;
        gh[j] = 0.0f;
    }
    add_transposed_product(s, 4 * hidden, r, gates, gh);
}

/* Backwards through time. `deltas` (directions, batch, steps, 4, hidden): see above; `carry` and
 * `carry_c`, laid out as the first states, end as the gradients of those. The gates and `cells`
 * (directions, batch, steps, hidden) are computed again from the states, so that the forward pass
 * need not keep them.
 *
 * `gy`, `glast` and `glast_c`, the gradients of all states and of the last ones, may be NULL. */
static inline void lstm_gradient_f32(const recurrent_shape *s, const float *restrict gy,
                                     const float *restrict glast, const float *restrict glast_c,
                                     const float *restrict x, const float *restrict w,
                                     const float *restrict r, const float *restrict b,
                                     const float *restrict first, const float *restrict first_c,
                                     const float *restrict y, float *restrict deltas,
                                     float *restrict carry, float *restrict carry_c,
                                     float *restrict cells)
{
    const int32_t hidden = s->hidden;

    for (int32_t d = 0; d < s->directions; d++) {
        const recurrent_weights of = weights_of_direction(s, d, w, r, b);

        for (int32_t n = 0; n < s->batch; n++) {
            const int32_t at = state_offset(s, d, n);
            const float *zeroth = first_c ? first_c + at : NULL;
            float *c = cells + gates_offset(s, d, n, 0, hidden);
            float *gates = deltas + gates_offset(s, d, n, 0, 4 * hidden);
            float *gh = carry + at, *gc = carry_c + at;

            for (int32_t step = 0; step < s->steps; step++) {
                lstm_gates_f32(s, of, x + x_offset(s, d, n, step),
                               state_before(s, d, n, step, y, first),
                               step > 0 ? c + (step - 1) * hidden : zeroth,
                               gates + step * 4 * hidden, c + step * hidden);
            }
            begin_carry(s, glast ? glast + at : NULL, gh);
            begin_carry(s, glast_c ? glast_c + at : NULL, gc);
            for (int32_t step = s->steps - 1; step >= 0; step--) {
                for (int32_t j = 0; gy && j < hidden; j++) {
                    gh[j] += gy[y_offset(s, d, n, step) + j];
                }
                lstm_step_gradient_f32(s, of.r, c + step * hidden,
                                       step > 0 ? c + (step - 1) * hidden : zeroth,
                                       gates + step * 4 * hidden, gh, gc);
            }
        }
    }
}

#endif
