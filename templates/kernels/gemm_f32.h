/* Dense layer on a float32 vector, or on each row of a matrix: forward and the gradient of the input.
 *
 * x (rows, k), w (n, k), b (n) or NULL, y (rows, n)
 *
 *   y[i] = b[i] + sum over j of w[i, j] * x[j]
 */
#ifndef TINYODL_GEMM_F32_H
#define TINYODL_GEMM_F32_H

#include <stddef.h>
#include <stdint.h>

static inline void gemm_f32(int32_t n, int32_t k, const float *restrict x, const float *restrict w,
                     const float *restrict b, float *restrict y)
{
    for (int32_t i = 0; i < n; i++) {
        float sum = b ? b[i] : 0.0f;
        for (int32_t j = 0; j < k; j++) {
            sum += w[j] * x[j];
        }
        y[i] = sum;
        w += k;
    }
}

static inline void gemm_rows_f32(int32_t rows, int32_t n, int32_t k, const float *restrict x,
                                 const float *restrict w, const float *restrict b,
                                 float *restrict y)
{
    for (int32_t row = 0; row < rows; row++) {
        gemm_f32(n, k, x + row * k, w, b, y + row * n);
    }
}

/* gx[j] = sum over i of w[i, j] * gy[i] */
static inline void gemm_input_gradient_f32(int32_t n, int32_t k, const float *restrict gy,
                                    const float *restrict w, float *restrict gx)
{
    for (int32_t j = 0; j < k; j++) {
        gx[j] = 0.0f;
    }
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < k; j++) {
            gx[j] += w[j] * gy[i];
        }
        w += k;
    }
}

static inline void gemm_rows_input_gradient_f32(int32_t rows, int32_t n, int32_t k,
                                                const float *restrict gy,
                                                const float *restrict w, float *restrict gx)
{
    for (int32_t row = 0; row < rows; row++) {
        gemm_input_gradient_f32(n, k, gy + row * n, w, gx + row * k);
    }
}

#endif
