/* Streaming linear discriminant analysis, in a dense layer with n outputs on k inputs, on one sample.
 *
 * M are the means of the classes, S is the scatter of the samples around the mean of their class, R a
 * ridge, and t the number of all samples. (S + R) / t is the covariance that the classes share, so the layer is
 *
 *   P = (S + R)^-1       W = t M P       b_c = -W_c . m_c / 2
 *
 * and the largest output is the likeliest class of those that have samples, each as likely as the others
 * before. P and W follow each sample x by rank-1 updates. With N samples of its class before it and the
 * mean m of those (0 where there are none):
 *
 *   d = x - m,  g = P d,  a = N / (N + 1),  s = a / (1 + a d . g)
 *   P -= s g g'                                                            Sherman and Morrison 1950
 *   W_c = (W_c - s (W_c . d) g) (t + 1) / t                                of every class
 *   W_y += (t + 1) (1 - s d . g) / (N + 1) g,  m += d / (N + 1)            of the sample's class
 *
 * where W_c . d = t m_c . g; taken from W itself, what rounding left there fades. b is computed anew. Sums go
 * from input 0 to input k - 1. P is kept as its upper triangle row by row, k (k + 1) / 2 values, and begins
 * as 1 / (ridge |x|^2) on the diagonal, as recursive_least_squares_f32.h
 * has it; `begun` holds that |x|^2, how many samples may still say so, and t.
 *
 * Hayes and Kanan: Lifelong machine learning with deep streaming linear discriminant analysis, 2020; they
 * keep the covariance, and invert it.
 */
#ifndef TINYODL_STREAMING_LDA_F32_H
#define TINYODL_STREAMING_LDA_F32_H

#include <stddef.h>
#include <stdint.h>

#include "recursive_least_squares_f32.h"

/* What a layer is and keeps, as named above; `moved` is scratch for d, then g. */
typedef struct {
    float *w, *b, *p, *means, *counts, *begun;
} slda_layer;

/// Where it begins ///

/* Whether there is something to learn from this sample; see rls_begin_f32. Where another |x|^2 begins, what
 * came before it is gone. */
static inline int slda_begin_f32(int32_t n, int32_t k, float ridge, float no_class,
                                 const float *restrict x, const slda_layer *to)
{
    float *begun = to->begun;
    float sum = 0.0f;

    if (begun[1] >= (float)RLS_FIRST) {
        return 1;
    }
    for (int32_t i = 0; i < k; i++) {
        sum += x[i] * x[i];
    }
    if (!(sum > 1e-20f && sum < 1e20f)) {
        return begun[1] > 0.0f;
    }
    if (begun[1] == 0.0f || sum > RLS_MOST * begun[0] || RLS_MOST * sum < begun[0]) {
        begun[0] = sum;
        begun[2] = 0.0f;
        rls_reset_f32(n, k, ridge, sum, to->w, NULL, to->p);
        for (int32_t i = 0; i < n; i++) {
            to->b[i] = no_class;
            to->counts[i] = 0.0f;
        }
        for (int32_t i = 0; i < n * k; i++) {
            to->means[i] = 0.0f;
        }
    }
    begun[1] += 1.0f;
    return 1;
}

/// The update ///

/* P -= share g g' */
static inline __attribute__((always_inline)) void
slda_shrink_f32(int32_t k, float share, const float *restrict g, float *restrict p)
{
    for (int32_t i = 0; i < k; i++) {
        const float g_i = share * g[i];
#pragma GCC unroll 4
        for (int32_t j = i; j < k; j++) {
            *p++ -= g_i * g[j];
        }
    }
}

static inline float slda_dot_f32(int32_t k, const float *restrict a, const float *restrict b)
{
    float sum = 0.0f;
    for (int32_t i = 0; i < k; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static inline void slda_biases_f32(int32_t n, int32_t k, const slda_layer *to)
{
    for (int32_t c = 0; c < n; c++) {
        if (to->counts[c] > 0.0f) {
            to->b[c] = -0.5f * slda_dot_f32(k, to->w + c * k, to->means + c * k);
        }
    }
}

static inline __attribute__((always_inline)) void
slda_learn_f32(int32_t n, int32_t k, int32_t label, const float *restrict x, const slda_layer *to,
               float *restrict moved)
{
    float *restrict d = moved, *restrict g = moved + k;
    float *own = to->w + label * k, *mean = to->means + label * k;
    const float count = to->counts[label] + 1.0f, total = to->begun[2] + 1.0f;
    const float grow = to->begun[2] > 0.0f ? total / to->begun[2] : 1.0f;

    for (int32_t i = 0; i < k; i++) {
        d[i] = x[i] - mean[i];
    }
    const float power = rls_gain_f32(k, d, NULL, to->p, g);
    const float a = to->counts[label] / count, less = 1.0f + a * power, share = a / less;

    for (int32_t c = 0; c < n; c++) {
        float *restrict w = to->w + c * k;
        if (to->counts[c] > 0.0f) {
            const float step = share * slda_dot_f32(k, w, d);
#pragma GCC unroll 4
            for (int32_t i = 0; i < k; i++) {
                w[i] = (w[i] - step * g[i]) * grow;
            }
        }
    }
    const float step = total / (less * count); /* 1 - s d . g = 1 / less */
    for (int32_t i = 0; i < k; i++) {
        own[i] += step * g[i];
        mean[i] += d[i] / count;
    }
    to->counts[label] = count;
    to->begun[2] = total;
    slda_shrink_f32(k, share, g, to->p);
}

static inline __attribute__((always_inline)) void
slda_f32(int32_t n, int32_t k, float ridge, float no_class, int32_t label, const float *restrict x,
         float *w, float *b, float *p, float *means, float *counts, float *begun, float *moved)
{
    const slda_layer to = {w, b, p, means, counts, begun};

    if (slda_begin_f32(n, k, ridge, no_class, x, &to)) {
        slda_learn_f32(n, k, label, x, &to, moved);
        slda_biases_f32(n, k, &to);
    }
}

/// Forgetting ///

/* All earlier samples count `forgetting` times as much in S: P is divided by it, t is multiplied with it,
 * and W stays. The N of the sample's class is multiplied too: a class is forgotten when it comes again,
 * and not before. The loss in R is given back one input at a time, as in rls_leak_f32:
 *
 *   P -= p_i p_i' / (1 / c + p_ii),  W_c -= W_c[i] p_i / (1 / c + p_ii),  c = (1 - forgetting) k R_i
 *
 * with the input i of which least is known. Nothing is forgotten where the trace of P would be beyond where
 * it began, in units of that. */
static inline int slda_forget_f32(int32_t k, int32_t label, float ridge, float forgetting,
                                  const slda_layer *to)
{
    const float *diagonal = to->p;
    const float each = rls_ridge_f32(0, k, ridge, to->begun[0]);
    float trace = 0.0f;

    for (int32_t i = 0; i < k; i++) {
        trace += *diagonal * each;
        diagonal += k - i;
    }
    if (!(trace <= (float)k * forgetting)) {
        return 0;
    }
    for (int32_t i = 0; i < k * (k + 1) / 2; i++) {
        to->p[i] /= forgetting;
    }
    to->counts[label] *= forgetting;
    to->begun[2] *= forgetting;
    return 1;
}

static inline __attribute__((always_inline)) void
slda_leak_f32(int32_t n, int32_t k, float ridge, float forgetting, const slda_layer *to,
              float *restrict column)
{
    const float c = (1.0f - forgetting) * (float)k * rls_ridge_f32(0, k, ridge, to->begun[0]);
    const float *diagonal = to->p;
    float most = 0.0f;
    int32_t largest = 0;

    for (int32_t i = 0; i < k; i++) {
        if (*diagonal > most) {
            most = *diagonal;
            largest = i;
        }
        diagonal += k - i;
    }
    const float *at = to->p + largest;
    for (int32_t i = 0; i < k; i++) {
        column[i] = *at;
        at += i < largest ? k - i - 1 : 1;
    }
    const float share = 1.0f / (1.0f / c + most);
    for (int32_t c = 0; c < n; c++) {
        float *restrict w = to->w + c * k;
        const float step = share * w[largest];
        for (int32_t i = 0; i < k; i++) {
            w[i] -= step * column[i];
        }
    }
    slda_shrink_f32(k, share, column, to->p);
}

static inline __attribute__((always_inline)) void
slda_forgetting_f32(int32_t n, int32_t k, float ridge, float no_class, float forgetting,
                    int32_t label, const float *restrict x, float *w, float *b, float *p,
                    float *means, float *counts, float *begun, float *moved)
{
    const slda_layer to = {w, b, p, means, counts, begun};

    if (slda_begin_f32(n, k, ridge, no_class, x, &to)) {
        const int forgot = slda_forget_f32(k, label, ridge, forgetting, &to);
        slda_learn_f32(n, k, label, x, &to, moved);
        if (forgot) {
            slda_leak_f32(n, k, ridge, forgetting, &to, moved);
        }
        slda_biases_f32(n, k, &to);
    }
}

#endif
