/* A bound on each step of gradient descent; see docs/bound.md for the rule and its figures.
 *
 *   reach = number of learning layers + sum over them of ratio * |x|^2, x the layer's input
 *   gy    = gradient of the loss
 *
 * rate * reach is how far a step moves the outputs, in units of gy. All gradients of a sample are
 * linear in gy, so one factor on it makes the whole step smaller. Sums run in ascending order.
 */
#ifndef TINYODL_BOUND_F32_H
#define TINYODL_BOUND_F32_H

#include <float.h>
#include <stdint.h>

#include "flags.h"

/// Reach ///

/* sum = before + ones + ratio * |x|^2; `before` may be NULL, and `sum` its memory. */
static inline void bound_reach_f32(int32_t n, float ratio, float ones, const float *x,
                                   const float *before, float *sum)
{
    float squares = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        squares += x[i] * x[i];
    }
    *sum = (before ? *before : 0.0f) + (ones + ratio * squares);
}

/* The same of integers, which stand for ratio's unit times (x - zero_point). */
static inline void bound_reach_i8(int32_t n, int32_t zero_point, float ratio, float ones,
                                  const int8_t *x, const float *before, float *sum)
{
    int64_t squares = 0;
    for (int32_t i = 0; i < n; i++) {
        const int32_t q = x[i] - zero_point;
        squares += q * q;
    }
    *sum = (before ? *before : 0.0f) + (ones + ratio * (float)squares);
}

/// Factor ///

typedef struct {
    float most; /* rate * reach / outputs is bounded above this, */
    float far;  /* and above `to` where the square of rate * reach * |gy| exceeds this, */
    float to;   /* and then becomes this */
} step_bound;

static inline float bound_squares_f32(int32_t n, const float *gy)
{
    float squares = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        squares += gy[i] * gy[i];
    }
    return squares;
}

/* out = factor * gy, out may be gy's memory. A gradient that is no number is not learned. */
static inline void bound_scale_f32(int32_t n, float factor, const float *gy, float *out)
{
    for (int32_t i = 0; i < n; i++) {
        out[i] = factor == 0.0f ? 0.0f : gy[i] * factor;
    }
}

/* out = gy, smaller where the step would reach too far. */
static inline void bound_step_f32(int32_t n, const step_bound *bound, int32_t outputs, float rate,
                                  const float *reach, const float *gy, float *out, uint32_t *flags)
{
    const float most = bound->most * (float)outputs, to = bound->to * (float)outputs;
    const float far = rate * *reach;
    const float squares = bound_squares_f32(n, gy);
    float factor = 1.0f;

    if (!(far <= FLT_MAX && squares <= FLT_MAX)) {
        factor = 0.0f;
    } else if (far > most || (far > to && far * far * squares > bound->far)) {
        factor = to / far;
    }
    if (factor != 1.0f) {
        *flags |= FLAG_BOUNDED;
    }
    bound_scale_f32(n, factor, gy, out);
}

/* out = gy, smaller where it is far larger than those before: seen[1] is the mean of reach, or with
 * `by_gradient` of reach * |gy|^2, over the last samples, seen[0] how many. At most `times` the mean
 * is learned and counted; the first samples are only counted. */
static inline void bound_by_seen_f32(int32_t n, int32_t by_gradient, float times, const float *reach,
                                     const float *gy, float *seen, float *out, uint32_t *flags)
{
    enum { FIRST = 8, LAST = 64 };
    float now = by_gradient ? *reach * bound_squares_f32(n, gy) : *reach;
    float factor = 1.0f;

    if (!(now <= FLT_MAX)) {
        factor = 0.0f;
    } else {
        if (seen[0] >= FIRST && now > times * seen[1] && seen[1] > 0.0f) {
            factor = __builtin_sqrtf(times * seen[1] / now);
            now = times * seen[1];
        }
        seen[0] = seen[0] < LAST ? seen[0] + 1.0f : LAST;
        seen[1] += (now - seen[1]) / seen[0];
    }
    if (factor != 1.0f) {
        *flags |= FLAG_BOUNDED;
    }
    bound_scale_f32(n, factor, gy, out);
}

/* out = gy / reach: every step is as far as the rate says. */
static inline void bound_normalised_f32(int32_t n, const float *reach, const float *gy, float *out)
{
    bound_scale_f32(n, *reach <= FLT_MAX ? 1.0f / *reach : 0.0f, gy, out);
}

#endif
