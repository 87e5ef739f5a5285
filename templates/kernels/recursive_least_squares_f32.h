/* Recursive least squares of a dense layer with n outputs on one sample.
 *
 * x~ is the layer's input, with a 1 behind it where the layer has a bias: m values. P is symmetric:
 * here is its upper triangle, row by row, m (m + 1) / 2 values.
 *
 *   gain = P x~,  d = forgetting + x~ . gain,  e = factor * gy
 *   w[i] += e[i] gain / d,  P = (P - gain gain' / d) / forgetting
 *
 * gain[i] is summed from column 0 to column m - 1, d from 0 to m - 1.
 */
#ifndef TINYODL_RECURSIVE_LEAST_SQUARES_F32_H
#define TINYODL_RECURSIVE_LEAST_SQUARES_F32_H

#include <stddef.h>
#include <stdint.h>

/* P = inverse_ridge * I */
static inline void rls_reset_f32(int32_t m, float inverse_ridge, float *p)
{
    for (int32_t i = 0; i < m; i++) {
        *p++ = inverse_ridge;
        for (int32_t j = i + 1; j < m; j++) {
            *p++ = 0.0f;
        }
    }
}

/* Of m inputs, those that are the layer's; the last may be the 1 of the bias. */
static inline int32_t rls_inputs(int32_t m, const float *b)
{
    return b ? m - 1 : m;
}

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
rls_f32(int32_t n, int32_t m, float factor, const float *restrict gy, const float *restrict x,
        float *restrict w, float *restrict b, float *restrict p, float *restrict gain)
{
    const float d = 1.0f + rls_gain_f32(m, x, b, p, gain);
    rls_learn_f32(n, m, factor / d, gy, gain, w, b);
    rls_shrink_f32(m, d, 1.0f, gain, p);
}

/* P is divided by `forgetting` while its trace stays below `bound`. */
static inline __attribute__((always_inline)) void
rls_forgetting_f32(int32_t n, int32_t m, float forgetting, float bound, float factor,
                   const float *restrict gy, const float *restrict x, float *restrict w,
                   float *restrict b, float *restrict p, float *restrict gain)
{
    const float d = forgetting + rls_gain_f32(m, x, b, p, gain);
    const float *diagonal = p;
    float trace = 0.0f; /* of P - gain gain' / d */

    for (int32_t i = 0; i < m; i++) {
        trace += *diagonal - gain[i] / d * gain[i];
        diagonal += m - i;
    }
    rls_learn_f32(n, m, factor / d, gy, gain, w, b);
    rls_shrink_f32(m, d, trace <= bound * forgetting ? 1.0f / forgetting : 1.0f, gain, p);
}

#endif
