/* Recursive least squares of a dense layer with n outputs on one sample.
 *
 * x~ is the layer's input, with a 1 behind it where the layer has a bias: m values. P is symmetric:
 * here is its upper triangle, row by row, m (m + 1) / 2 values.
 *
 *   gain = P x~,  d = forgetting + x~ . gain,  e = factor * gy
 *   w[i] += e[i] gain / d,  P = (P - gain gain' / d) / forgetting
 *
 * gain[i] is summed from column 0 to column m - 1, d from 0 to m - 1.
 *
 * P begins as a diagonal matrix, 1 / (ridge power) for the k inputs of the layer and 1 / (ridge k) for
 * the 1 of the bias: as I / (ridge k) would be in the unit in which the mean square of the inputs is 1.
 * So a layer whose inputs come in other units learns the same. power: |x|^2 of the sample that
 * P began with, and how many samples have come, up to RLS_FIRST; 0: P has not begun.
 */
#ifndef TINYODL_RECURSIVE_LEAST_SQUARES_F32_H
#define TINYODL_RECURSIVE_LEAST_SQUARES_F32_H

#include <stddef.h>
#include <stdint.h>

enum { RLS_FIRST = 10, RLS_MOST = 1000 /* times as large, or as small, as what P began with */ };

/* Of m inputs, those that are the layer's; the last may be the 1 of the bias. */
static inline int32_t rls_inputs(int32_t m, const float *b)
{
    return b ? m - 1 : m;
}

/// Where P begins ///

/* One over the diagonal of P where it begins. */
static inline float rls_ridge_f32(int32_t i, int32_t k, float ridge, float power)
{
    return ridge * (i < k ? power : (float)k);
}

static inline void rls_reset_f32(int32_t n, int32_t m, float ridge, float power, float *w, float *b,
                                 float *p)
{
    const int32_t k = rls_inputs(m, b);

    for (int32_t i = 0; i < m; i++) {
        *p++ = 1.0f / rls_ridge_f32(i, k, ridge, power);
        for (int32_t j = i + 1; j < m; j++) {
            *p++ = 0.0f;
        }
    }
    for (int32_t i = 0; w && i < n * k; i++) {
        w[i] = 0.0f;
    }
    for (int32_t i = 0; w && b && i < n; i++) {
        b[i] = 0.0f;
    }
}

/* Whether there is something to learn from this sample. P begins with the first whose inputs are not
 * all 0. It begins anew, and the weights at 0, where one of the first samples is of another size by far:
 * then it was one before the sensor was on, or a fault, that P began with. */
static inline int rls_begin_f32(int32_t n, int32_t m, float ridge, const float *x, float *w, float *b,
                                float *p, float *power)
{
    const int32_t k = rls_inputs(m, b);
    float sum = 0.0f;

    if (power[1] >= (float)RLS_FIRST) {
        return 1;
    }
    for (int32_t i = 0; i < k; i++) {
        sum += x[i] * x[i];
    }
    if (!(sum > 1e-20f && sum < 1e20f)) {
        return power[1] > 0.0f;
    }
    power[1] += 1.0f;
    if (power[1] == 1.0f) {
        power[0] = sum;
        rls_reset_f32(n, m, ridge, sum, NULL, b, p);
    } else if (sum > RLS_MOST * power[0] || RLS_MOST * sum < power[0]) {
        power[0] = sum;
        rls_reset_f32(n, m, ridge, sum, w, b, p);
        return 0; /* the error was that of other weights */
    }
    return 1;
}

/// The update ///

/* gain = P x~, each element of P read once; returns x~ . gain. */
static inline __attribute__((always_inline)) float
rls_gain_f32(int32_t m, const float *restrict x, const float *b, const float *restrict p,
             float *restrict gain)
{
    const int32_t k = rls_inputs(m, b);
    float power = 0.0f;

    for (int32_t i = 0; i < m; i++) {
        gain[i] = 0.0f;
    }
    for (int32_t i = 0; i < m; i++) {
        const float x_i = i < k ? x[i] : 1.0f;
        float sum = gain[i] + *p++ * x_i;
#pragma GCC unroll 4
        for (int32_t j = i + 1; j < k; j++) {
            const float p_ij = *p++;
            sum += p_ij * x[j];
            gain[j] += p_ij * x_i;
        }
        if (k < m && i < k) { /* the column of the bias */
            const float p_ij = *p++;
            sum += p_ij;
            gain[k] += p_ij * x_i;
        }
        gain[i] = sum;
    }
    for (int32_t i = 0; i < m; i++) {
        power += (i < k ? x[i] : 1.0f) * gain[i];
    }
    return power;
}

static inline __attribute__((always_inline)) void
rls_learn_f32(int32_t n, int32_t m, float step, const float *restrict gy,
              const float *restrict gain, float *restrict w, float *restrict b)
{
    const int32_t k = rls_inputs(m, b);

    for (int32_t i = 0; i < n; i++) {
        const float along = step * gy[i];
#pragma GCC unroll 4
        for (int32_t j = 0; j < k; j++) {
            w[i * k + j] += along * gain[j];
        }
        if (b) {
            b[i] += along * gain[k];
        }
    }
}

/* P = (P - gain gain' / d) * grow */
static inline __attribute__((always_inline)) void
rls_shrink_f32(int32_t m, float d, float grow, const float *restrict gain, float *restrict p)
{
    for (int32_t i = 0; i < m; i++) {
        const float share = gain[i] / d;
#pragma GCC unroll 4
        for (int32_t j = i; j < m; j++) {
            *p = (*p - share * gain[j]) * grow;
            p++;
        }
    }
}

static inline __attribute__((always_inline)) void
rls_f32(int32_t n, int32_t m, float ridge, float factor, const float *restrict gy,
        const float *restrict x, float *restrict w, float *restrict b, float *restrict p,
        float *restrict power, float *restrict gain)
{
    if (!rls_begin_f32(n, m, ridge, x, w, b, p, power)) {
        return;
    }
    const float d = 1.0f + rls_gain_f32(m, x, b, p, gain);
    rls_learn_f32(n, m, factor / d, gy, gain, w, b);
    rls_shrink_f32(m, d, 1.0f, gain, p);
}

/// Forgetting ///

/* P as after a sample that the weights fit already, all of whose inputs but one are 0. The one is the
 * least known input, in units of its first P, and its value is sqrt(c), c = share times its ridge.
 *
 *   P = P - p_i p_i' / (1 / c + p_ii)
 */
static inline __attribute__((always_inline)) void
rls_leak_f32(int32_t m, int32_t k, float ridge, float power, float share, float *restrict p,
             float *restrict column)
{
    const float *diagonal = p;
    float most = 0.0f;
    int32_t largest = 0;

    for (int32_t i = 0; i < m; i++) {
        const float size = *diagonal * rls_ridge_f32(i, k, ridge, power);
        if (size > most) {
            most = size;
            largest = i;
        }
        diagonal += m - i;
    }
    const float *at = p + largest;
    for (int32_t i = 0; i < m; i++) {
        column[i] = *at;
        at += i < largest ? m - i - 1 : 1;
    }
    const float c = share * rls_ridge_f32(largest, k, ridge, power);
    rls_shrink_f32(m, 1.0f / c + column[largest], 1.0f, column, p);
}

/* P is divided by `forgetting`. For inputs without news this adds too much, so one input a step is taken
 * back; see rls_leak_f32. P is not divided if its trace would exceed the one it began with. */
static inline __attribute__((always_inline)) void
rls_forgetting_f32(int32_t n, int32_t m, float ridge, float forgetting, float factor,
                   const float *restrict gy, const float *restrict x, float *restrict w,
                   float *restrict b, float *restrict p, float *restrict power,
                   float *restrict gain)
{
    const int32_t k = rls_inputs(m, b);

    if (!rls_begin_f32(n, m, ridge, x, w, b, p, power)) {
        return;
    }
    const float d = forgetting + rls_gain_f32(m, x, b, p, gain);
    const float *diagonal = p;
    float trace = 0.0f; /* of P - gain gain' / d, in units of where P began */

    for (int32_t i = 0; i < m; i++) {
        trace += (*diagonal - gain[i] / d * gain[i]) * rls_ridge_f32(i, k, ridge, power[0]);
        diagonal += m - i;
    }
    rls_learn_f32(n, m, factor / d, gy, gain, w, b);
    const float grow = trace <= (float)m * forgetting ? 1.0f / forgetting : 1.0f;
    rls_shrink_f32(m, d, grow, gain, p);
    rls_leak_f32(m, k, ridge, power[0], (1.0f - forgetting) * (float)m, p, gain);
}

#endif
