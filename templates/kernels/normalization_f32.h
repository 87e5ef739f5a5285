/* Normalisation of each row to mean 0 and variance 1, then a scale and a bias: layer, instance and
 * group normalisation of float32 values, forward and the gradient of the input.
 *
 * x, y  (rows, channels, positions): `groups` rows after another make up all channels
 * scale, bias (groups * channels); bias may be NULL
 * mean, rstd  (rows): of the row, and 1 / sqrt(variance + epsilon)
 *
 *   y = n * scale + bias        n = (x - mean) * rstd
 */
#ifndef TINYODL_NORMALIZATION_F32_H
#define TINYODL_NORMALIZATION_F32_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t rows, groups, channels, positions;
} normalization_shape;

static inline void row_statistics_f32(int32_t n, float epsilon, const float *x, float *mean,
                                      float *rstd)
{
    float sum = 0.0f, squares = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        sum += x[i];
    }
    *mean = sum / (float)n;
    for (int32_t i = 0; i < n; i++) {
        const float distance = x[i] - *mean;
        squares += distance * distance;
    }
    *rstd = 1.0f / __builtin_sqrtf(squares / (float)n + epsilon);
}

/* The output may be the input's own memory. */
static inline void normalization_f32(const normalization_shape *s, float epsilon, const float *x,
                                     const float *scale, const float *bias, float *y, float *mean,
                                     float *rstd)
{
    for (int32_t row = 0; row < s->rows; row++) {
        const int32_t first = row % s->groups * s->channels;
        row_statistics_f32(s->channels * s->positions, epsilon, x, mean + row, rstd + row);

        for (int32_t c = first; c < first + s->channels; c++) {
            for (int32_t p = 0; p < s->positions; p++) {
                const float n = (*x++ - mean[row]) * rstd[row];
                *y++ = n * scale[c] + (bias ? bias[c] : 0.0f);
            }
        }
    }
}

/* g = gy * scale; over the m values of a row
 *
 *   gx = rstd * (g - sum(g) / m - n * sum(g * n) / m) + gmean / m - grstd * rstd^2 * n / m
 *
 * The gradients of the mean and of rstd may be NULL, and gx may be gy's own memory. */
static inline void normalization_input_gradient_f32(const normalization_shape *s, const float *gy,
                                                    const float *gmean, const float *grstd,
                                                    const float *x, const float *scale,
                                                    const float *mean, const float *rstd, float *gx)
{
    const float m = (float)(s->channels * s->positions);

    for (int32_t row = 0; row < s->rows; row++) {
        const float *scale_of = scale + row % s->groups * s->channels;
        float sum = 0.0f, along = 0.0f;
        int32_t i = 0;

        for (int32_t c = 0; c < s->channels; c++) {
            for (int32_t p = 0; p < s->positions; p++, i++) {
                const float g = gy[i] * scale_of[c];
                sum += g;
                along += g * ((x[i] - mean[row]) * rstd[row]);
            }
        }
        const float shift = (gmean ? gmean[row] : 0.0f) - rstd[row] * sum;
        const float turn = rstd[row] * (along + (grstd ? grstd[row] * rstd[row] : 0.0f));
        i = 0;
        for (int32_t c = 0; c < s->channels; c++) {
            for (int32_t p = 0; p < s->positions; p++, i++) {
                const float n = (x[i] - mean[row]) * rstd[row];
                gx[i] = rstd[row] * gy[i] * scale_of[c] + (shift - turn * n) / m;
            }
        }
        gy += i;
        x += i;
        gx += i;
    }
}

#endif
