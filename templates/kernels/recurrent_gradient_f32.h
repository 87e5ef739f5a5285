/* Gradients of a recurrent layer's input, weights and biases from the deltas, the gradients of what
 * enters its gates: (directions, batch, steps, width). Each element of a parameter's gradient is
 * complete, summed over the batch and then the steps, before it goes to the learner.
 *
 * A GRU has four times `hidden` values in a row of deltas for its three gates. For w the first three
 * are its deltas z, r, n. For r, the fourth is either what n's rows multiply instead of h, or, linear
 * before reset, the delta of n's rows.
 */
#ifndef TINYODL_RECURRENT_GRADIENT_F32_H
#define TINYODL_RECURRENT_GRADIENT_F32_H

#include <stddef.h>
#include <stdint.h>

#include "learner_f32.h"
#include "recurrent_shape.h"

/* gw[i, j] = sum over t of delta[t, i] * x[t, j] */
static inline void recurrent_weight_gradient_f32(const recurrent_shape *s, int32_t width,
                                                 const float *restrict deltas,
                                                 const float *restrict x,
                                                 const learner_f32 *learner)
{
    const int32_t rows = s->gates * s->hidden;
    int32_t element = 0;

    for (int32_t d = 0; d < s->directions; d++) {
        for (int32_t i = 0; i < rows; i++) {
            for (int32_t j = 0; j < s->inputs; j++) {
                float sum = 0.0f;
                for (int32_t n = 0; n < s->batch; n++) {
                    for (int32_t step = 0; step < s->steps; step++) {
                        sum += deltas[gates_offset(s, d, n, step, width) + i] *
                               x[x_offset(s, d, n, step) + j];
                    }
                }
                learner_take_f32(learner, element++, sum);
            }
        }
    }
}

/* Where the delta of row i of r stands in a row of deltas. */
static inline int32_t recurrence_delta(const recurrent_shape *s, int32_t linear_before_reset,
                                       int32_t i)
{
    return linear_before_reset && i >= 2 * s->hidden ? i + s->hidden : i;
}

/* gr[i, j] = sum over t of delta[t, i] * h[t-1, j] */
static inline void recurrent_state_gradient_f32(const recurrent_shape *s, int32_t width,
                                                int32_t linear_before_reset,
                                                const float *restrict deltas,
                                                const float *restrict y,
                                                const float *restrict first,
                                                const learner_f32 *learner)
{
    const int32_t rows = s->gates * s->hidden;
    const int32_t gated = width > rows && !linear_before_reset ? 2 * s->hidden : rows;
    int32_t element = 0;

    for (int32_t d = 0; d < s->directions; d++) {
        for (int32_t i = 0; i < rows; i++) {
            const int32_t at = recurrence_delta(s, linear_before_reset, i);

            for (int32_t j = 0; j < s->hidden; j++) {
                float sum = 0.0f;
                for (int32_t n = 0; n < s->batch; n++) {
                    for (int32_t step = 0; step < s->steps; step++) {
                        const float *delta = deltas + gates_offset(s, d, n, step, width);
                        const float *h = i < gated ? state_before(s, d, n, step, y, first)
                                                   : delta + 3 * s->hidden;
                        sum += h ? delta[at] * h[j] : 0.0f;
                    }
                }
                learner_take_f32(learner, element++, sum);
            }
        }
    }
}

/* gb[i] = sum over t of delta[t, i], beside w and then beside r */
static inline void recurrent_bias_gradient_f32(const recurrent_shape *s, int32_t width,
                                               int32_t linear_before_reset,
                                               const float *restrict deltas,
                                               const learner_f32 *learner)
{
    const int32_t rows = s->gates * s->hidden;
    int32_t element = 0;

    for (int32_t d = 0; d < s->directions; d++) {
        for (int32_t i = 0; i < 2 * rows; i++) {
            const int32_t at = i < rows ? i : recurrence_delta(s, linear_before_reset, i - rows);
            float sum = 0.0f;

            for (int32_t n = 0; n < s->batch; n++) {
                for (int32_t step = 0; step < s->steps; step++) {
                    sum += deltas[gates_offset(s, d, n, step, width) + at];
                }
            }
            learner_take_f32(learner, element++, sum);
        }
    }
}

#endif
