/* The geometry of a recurrent layer, and what all of them do: walk through time, multiply.
 *
 * x (steps, batch, inputs), states y (steps, directions, batch, hidden), first and last states
 * (directions, batch, hidden): in this order or, with layout 1, the batch first; hence the strides.
 * Of the same order in all layers, `rows` being gates * hidden:
 *
 * w (directions, rows, inputs), r (directions, rows, hidden), b (directions, 2 * rows) or NULL, first
 * the bias beside w, then that beside r.
 */
#ifndef TINYODL_RECURRENT_SHAPE_H
#define TINYODL_RECURRENT_SHAPE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t steps, batch, inputs, hidden, gates;
    int32_t directions, reverse; /* reverse: the only direction goes from the last step to the first */
    int32_t x_step, x_batch;
    int32_t y_step, y_direction, y_batch;
    int32_t state_direction, state_batch; /* of the first and last states */
} recurrent_shape;

/* The constants of one direction. */
typedef struct {
    const float *w, *r, *b;
} recurrent_weights;

static inline recurrent_weights weights_of_direction(const recurrent_shape *s, int32_t direction,
                                                     const float *w, const float *r, const float *b)
{
    const int32_t rows = s->gates * s->hidden;
    const recurrent_weights of = {w + direction * rows * s->inputs, r + direction * rows * s->hidden,
                                  b ? b + direction * 2 * rows : NULL};
    return of;
}

/* Which element of the sequence comes at a step; the second direction is always the reverse one. */
static inline int32_t time_of_step(const recurrent_shape *s, int32_t direction, int32_t step)
{
    return s->reverse || direction == 1 ? s->steps - 1 - step : step;
}

static inline int32_t state_offset(const recurrent_shape *s, int32_t direction, int32_t item)
{
    return direction * s->state_direction + item * s->state_batch;
}

static inline int32_t y_offset(const recurrent_shape *s, int32_t direction, int32_t item, int32_t step)
{
    return time_of_step(s, direction, step) * s->y_step + direction * s->y_direction +
           item * s->y_batch;
}

static inline int32_t x_offset(const recurrent_shape *s, int32_t direction, int32_t item, int32_t step)
{
    return time_of_step(s, direction, step) * s->x_step + item * s->x_batch;
}

/* The state before a step; NULL where it is zero. */
static inline const float *state_before(const recurrent_shape *s, int32_t direction, int32_t item,
                                        int32_t step, const float *y, const float *first)
{
    if (step > 0) {
        return y + y_offset(s, direction, item, step - 1);
    }
    return first ? first + state_offset(s, direction, item) : NULL;
}

/* Where the gates of a step lie in a tensor (directions, batch, steps, width). */
static inline int32_t gates_offset(const recurrent_shape *s, int32_t direction, int32_t item,
                                   int32_t step, int32_t width)
{
    return ((direction * s->batch + item) * s->steps + step) * width;
}

/* sum over j of a[j] * b[j]; 0 where b is NULL */
static inline float dot_f32(int32_t n, const float *a, const float *b)
{
    float sum = 0.0f;
    for (int32_t j = 0; b && j < n; j++) {
        sum += a[j] * b[j];
    }
    return sum;
}

/* wb[row] + sum over j of w[row, j] * x[j] */
static inline float input_sum(const recurrent_shape *s, recurrent_weights of, int32_t row,
                              const float *x)
{
    const float sum = dot_f32(s->inputs, of.w + row * s->inputs, x);
    return of.b ? sum + of.b[row] : sum;
}

/* rb[row] + sum over j of r[row, j] * h[j] */
static inline float state_sum(const recurrent_shape *s, recurrent_weights of, int32_t row,
                              const float *h)
{
    const float sum = dot_f32(s->hidden, of.r + row * s->hidden, h);
    return of.b ? sum + of.b[s->gates * s->hidden + row] : sum;
}

/* y[j] += sum over i of a[i, j] * d[i], for `rows` rows of `hidden` columns */
static inline void add_transposed_product(const recurrent_shape *s, int32_t rows, const float *a,
                                          const float *d, float *y)
{
    for (int32_t i = 0; i < rows; i++, a += s->hidden) {
        for (int32_t j = 0; j < s->hidden; j++) {
            y[j] += a[j] * d[i];
        }
    }
}

/* The gradient of the state after the last step: what reads it gave, or zero. */
static inline void begin_carry(const recurrent_shape *s, const float *gradient, float *carry)
{
    for (int32_t j = 0; j < s->hidden; j++) {
        carry[j] = gradient ? gradient[j] : 0.0f;
    }
}

#endif
