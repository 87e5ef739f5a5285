/* Whether the label of a sample is worth asking for, and the threshold that finds itself.
 *
 * The margin of n outputs is the difference of the two largest (of probabilities, for softmax).
 * record[t] counts, of the samples whose label came and whose margin is at or above the threshold t
 * of the grid, all m and those that were predicted wrongly, p m. With the normal quantile z
 *
 *   bound = (p + z^2 / 2m + z sqrt(p (1 - p) / m + z^2 / 4m^2)) / (1 + z^2 / m)    (Wilson 1927)
 *
 * The threshold is the smallest of the grid whose bound is at or below the error budget.
 */
#ifndef TINYODL_QUERY_F32_H
#define TINYODL_QUERY_F32_H

#include <stddef.h>
#include <stdint.h>

#include "flags.h"
#include "hashed_gemm_f32.h"
#include "math_f32.h"

enum { QUERY_THRESHOLDS = 16 };

static inline int32_t largest_f32(int32_t n, const float *z)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++) {
        best = z[i] > z[best] ? i : best;
    }
    return best;
}

/// Margins ///

static inline float runner_up_f32(int32_t n, const float *z, int32_t best)
{
    int32_t second = best == 0 ? n - 1 : 0;
    for (int32_t i = 0; i < n; i++) {
        second = i != best && z[i] > z[second] ? i : second;
    }
    return z[second];
}

static inline void margin_f32(int32_t n, const float *z, float *margin)
{
    const int32_t best = largest_f32(n, z);
    *margin = n > 1 ? z[best] - runner_up_f32(n, z, best) : 0.0f;
}

static inline void softmax_margin_f32(int32_t n, const float *z, float *margin)
{
    const int32_t best = largest_f32(n, z);
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        sum += exp_f32(z[i] - z[best]);
    }
    *margin = n > 1 ? (1.0f - exp_f32(runner_up_f32(n, z, best) - z[best])) / sum : 0.0f;
}

/// The error of answers that nobody checks ///

static inline float wilson_bound_f32(float m, float wrong, float z)
{
    if (m <= 0.0f) {
        return 1.0f;
    }
    const float p = wrong / m, z2 = z * z;
    const float spread = __builtin_sqrtf(p * (1.0f - p) / m + z2 / (4.0f * m * m));
    return (p + z2 / (2.0f * m) + z * spread) / (1.0f + z2 / m);
}

/* The smallest threshold that keeps to the budget; above all margins where none does. */
static inline float query_threshold_f32(const float *grid, const float *record, float budget,
                                        float z)
{
    for (int32_t t = 0; t < QUERY_THRESHOLDS; t++) {
        if (wilson_bound_f32(record[2 * t], record[2 * t + 1], z) <= budget) {
            return grid[t];
        }
    }
    return __builtin_inff();
}

/* After a drift nothing is known of the network's answers, and nothing is trained enough. */
static inline void query_forget_f32(float *record, int32_t *state)
{
    for (int32_t i = 0; record && i < 2 * QUERY_THRESHOLDS; i++) {
        record[i] = 0.0f;
    }
    state[0] = 0;
}

/// The decision ///

/* `state`: samples trained since the start or the last drift, and samples that were no question.
 * By chance one of `explore` of those is asked all the same; `explore` 0: none. */
static inline void query_decide_f32(uint32_t seed, float threshold, float least_trained,
                                    float explore, const float *drift, const float *margin,
                                    float *record, int32_t *state, float *used, uint32_t *flags)
{
    uint32_t why = 0;

    *used = threshold;
    if (drift && *drift > 0.0f) {
        query_forget_f32(record, state);
        why |= FLAG_DRIFT;
    }
    if ((float)state[0] < least_trained || (drift && *drift < 0.0f)) {
        why |= FLAG_UNTRAINED;
    }
    if (!(*margin >= threshold)) {
        why |= FLAG_UNSURE;
    }
    if (why == 0 && explore > 0.0f) {
        const uint32_t place = seed * 0x9e3779b9u + (uint32_t)state[1]++;
        if ((float)(hash_u32(place) >> 8) * explore < 0x1p24f) {
            why |= FLAG_CHANCE;
        }
    }
    *flags |= why ? why | FLAG_WANTED : 0u;
}

/* A label came. y: n outputs; `record` is NULL where the threshold is fixed. */
static inline void query_count_f32(int32_t n, int32_t label, const float *y, const float *grid,
                                   const float *drift, const float *margin, float *record,
                                   int32_t *state)
{
    if (drift && *drift > 0.0f) {
        query_forget_f32(record, state);
    }
    state[0]++;
    if (record == NULL) {
        return;
    }
    const float wrong = largest_f32(n, y) == label ? 0.0f : 1.0f;
    for (int32_t t = 0; t < QUERY_THRESHOLDS && *margin >= grid[t]; t++) {
        record[2 * t] += 1.0f;
        record[2 * t + 1] += wrong;
    }
}

#endif
