/* A layer of gated recurrent units: forward, and the gradients of what enters the gates.
 *
 *   z = sigmoid(wz x[t] + wbz + rz h[t-1] + rbz)
 *   r = sigmoid(wr x[t] + wbr + rr h[t-1] + rbr)
 *   n = tanh(wn x[t] + wbn + q)
 *   h[t] = (1 - z) n + z h[t-1]
 *
 * with q = rn (r h[t-1]) + rbn, or, linear_before_reset, q = r p and p = rn h[t-1] + rbn. The rows of
 * w, r and b are ordered z, r, n.
 */
#ifndef TINYODL_GRU_F32_H
#define TINYODL_GRU_F32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "math_f32.h"
#include "recurrent_shape.h"

/* gates (4, hidden) of one step: z, r, n, and r h[t-1] or p */
static inline void gru_gates_f32(const recurrent_shape *s, int32_t linear_before_reset,
                                 recurrent_weights of, const float *x, const float *h, float *gates)
{
    const int32_t hidden = s->hidden;
    float *z = gates, *r = z + hidden, *n = r + hidden, *p = n + hidden;

    for (int32_t i = 0; i < 2 * hidden; i++) {
        gates[i] = sigmoid_f32(input_sum(s, of, i, x) + state_sum(s, of, i, h));
    }
    for (int32_t i = 0; i < hidden; i++) {
        p[i] = linear_before_reset ? state_sum(s, of, 2 * hidden + i, h) : h ? r[i] * h[i] : 0.0f;
    }
    for (int32_t i = 0; i < hidden; i++) {
        const int32_t row = 2 * hidden + i;
        const float q = linear_before_reset ? r[i] * p[i] : state_sum(s, of, row, p);
        n[i] = tanh_f32(input_sum(s, of, row, x) + q);
    }
}

/* `gates` (4, hidden) is for the gates of one step after the other. */
static inline void gru_f32(const recurrent_shape *s, int32_t linear_before_reset,
                           const float *restrict x, const float *restrict w,
                           const float *restrict r, const float *restrict b,
                           const float *restrict first, float *restrict y, float *restrict last,
                           float *restrict gates)
{
    const float *z = gates, *n = gates + 2 * s->hidden;

    for (int32_t d = 0; d < s->directions; d++) {
        const recurrent_weights of = weights_of_direction(s, d, w, r, b);

        for (int32_t item = 0; item < s->batch; item++) {
            for (int32_t step = 0; step < s->steps; step++) {
                const float *h = state_before(s, d, item, step, y, first);
                float *y_t = y + y_offset(s, d, item, step);

                gru_gates_f32(s, linear_before_reset, of, x + x_offset(s, d, item, step), h, gates);
                for (int32_t i = 0; i < s->hidden; i++) {
                    y_t[i] = (1.0f - z[i]) * n[i] + (h ? z[i] * h[i] : 0.0f);
                }
            }
            memcpy(last + state_offset(s, d, item), y + y_offset(s, d, item, s->steps - 1),
                   (size_t)s->hidden * sizeof(float));
        }
    }
}

/* Backwards through one step: `gates` become deltas, the gradients of what enters them; `gh`, the
 * gradient of h[t], becomes that of h[t-1]. The fourth row stays r h[t-1], or becomes the gradient
 * of p.
 *
 *   dn = gh (1 - z) (1 - n^2)          dz = gh (h - n) z (1 - z)
 *   dr = g h r (1 - r)                 g = rn^T dn the gradient of r h
 *   gh = gh z + rz^T dz + rr^T dr + g r
 *
 * or, linear_before_reset, dr = dn p r (1 - r) and gh = gh z + rz^T dz + rr^T dr + rn^T (dn r). */
static inline void gru_step_gradient_f32(const recurrent_shape *s, int32_t linear_before_reset,
                                         const float *r_of, const float *h, float *gates, float *gh)
{
    const int32_t hidden = s->hidden;
    float *z = gates, *r = z + hidden, *n = r + hidden, *p = n + hidden;
    const float *r_n = r_of + 2 * hidden * hidden;

    for (int32_t i = 0; i < hidden; i++) {
        const float before = h ? h[i] : 0.0f;
        const float update = z[i], candidate = n[i];

        z[i] = gh[i] * (before - candidate) * update * (1.0f - update);
        n[i] = gh[i] * (1.0f - update) * (1.0f - candidate * candidate);
        gh[i] = gh[i] * update;
        if (linear_before_reset) {
            const float reset = r[i];
            r[i] = n[i] * p[i] * reset * (1.0f - reset);
            p[i] = n[i] * reset;
        }
    }
    if (linear_before_reset) {
        add_transposed_product(s, hidden, r_n, p, gh);
    } else {
        for (int32_t j = 0; j < hidden; j++) {
            float g = 0.0f;
            for (int32_t i = 0; i < hidden; i++) {
                g += r_n[i * hidden + j] * n[i];
            }
            gh[j] += g * r[j];
            r[j] = h ? g * h[j] * r[j] * (1.0f - r[j]) : 0.0f;
        }
    }
    add_transposed_product(s, 2 * hidden, r_of, gates, gh);
}

/* Backwards through time. `deltas` (directions, batch, steps, 4, hidden): see above; `carry`, laid out
 * as the first state, ends as the gradient of that. The gates are computed again from the states,
 * so that the forward pass need not keep them.
 *
 * `gy` and `glast`, the gradients of all states and of the last one, may be NULL. */
static inline void gru_gradient_f32(const recurrent_shape *s, int32_t linear_before_reset,
                                    const float *restrict gy, const float *restrict glast,
                                    const float *restrict x, const float *restrict w,
                                    const float *restrict r, const float *restrict b,
                                    const float *restrict first, const float *restrict y,
                                    float *restrict deltas, float *restrict carry)
{
    for (int32_t d = 0; d < s->directions; d++) {
        const recurrent_weights of = weights_of_direction(s, d, w, r, b);

        for (int32_t n = 0; n < s->batch; n++) {
            float *gh = carry + state_offset(s, d, n);
            begin_carry(s, glast ? glast + state_offset(s, d, n) : NULL, gh);

            for (int32_t step = s->steps - 1; step >= 0; step--) {
                const float *h = state_before(s, d, n, step, y, first);
                float *gates = deltas + gates_offset(s, d, n, step, 4 * s->hidden);

                for (int32_t i = 0; gy && i < s->hidden; i++) {
                    gh[i] += gy[y_offset(s, d, n, step) + i];
                }
                gru_gates_f32(s, linear_before_reset, of, x + x_offset(s, d, n, step), h, gates);
                gru_step_gradient_f32(s, linear_before_reset, of.r, h, gates, gh);
            }
        }
    }
}

#endif
