/* Cosine prototypes, in a dense layer on k inputs, on one sample.
 *
 *   W_c = scale * s_c / |s_c|        s_c = sum of the samples of class c
 *
 * The output of class c is scale * |x| times the cosine between x and the class's mean, so the largest is
 * that of the class whose mean points most nearly where x does. Of s_c only the length is kept beside W_c:
 *
 *   s_c = |s_c| / scale * W_c + x
 *
 * Squares are summed from input 0 to input k - 1. A sample whose inputs are all 0 has no direction, and
 * changes nothing. Snell, Swersky and Zemel: Prototypical networks for few-shot learning, 2017; Qi, Brown
 * and Lowe: Low-shot learning with imprinted weights, 2018.
 */
#ifndef TINYODL_PROTOTYPES_F32_H
#define TINYODL_PROTOTYPES_F32_H

#include <stdint.h>

static inline float prototype_square_f32(int32_t k, const float *x)
{
    float square = 0.0f;

    for (int32_t i = 0; i < k; i++) {
        square += x[i] * x[i];
    }
    return square;
}

/* The prototype `w` of one class, and the length of the class's sum, with one more sample. */
static inline void prototype_add_f32(int32_t k, float scale, const float *restrict x,
                                     float *restrict w, float *restrict length)
{
    const float before = length[0] / scale;

    for (int32_t i = 0; i < k; i++) {
        w[i] = before * w[i] + x[i];
    }
    length[0] = __builtin_sqrtf(prototype_square_f32(k, w));
    const float factor = length[0] > 0.0f ? scale / length[0] : 0.0f;
    for (int32_t i = 0; i < k; i++) {
        w[i] *= factor;
    }
}

/// Prototypes alone ///

/* The scale is 1. A class of which no sample came has the bias NO_CLASS, any other 0. */
static inline void prototypes_f32(int32_t k, int32_t label, const float *restrict x,
                                  float *restrict w, float *restrict b, float *restrict lengths)
{
    if (prototype_square_f32(k, x) > 0.0f) {
        prototype_add_f32(k, 1.0f, x, w + label * k, lengths + label);
        b[label] = 0.0f;
    }
}

/// Prototypes of the first samples of each class ///

/* A layer that goes on learning otherwise: `taken` is 1 where this sample made a prototype, else 0. The
 * scale is `sharpness` over the |x| of the very first sample. */
static inline void first_shots_f32(int32_t k, float sharpness, float shots, int32_t label,
                                   const float *restrict x, float *restrict w,
                                   float *restrict counts, float *restrict lengths,
                                   float *restrict scale, int32_t *restrict taken)
{
    taken[0] = counts[label] < shots;
    if (!taken[0]) {
        return;
    }
    const float square = prototype_square_f32(k, x);
    counts[label] += 1.0f;
    if (square > 0.0f) {
        if (scale[0] == 0.0f) {
            scale[0] = sharpness / __builtin_sqrtf(square);
        }
        prototype_add_f32(k, scale[0], x, w + label * k, lengths + label);
    }
}

#endif
