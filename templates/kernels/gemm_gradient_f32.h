/* Gradients of a dense layer's weight and bias, handed to the learner.
 *
 *   gw[i, j] = gy[i] * x[j]        gb[i] = gy[i]        summed over the rows where x is a matrix
 *
 * Where SGD takes the gradient of one row at once, w[i, j] -= (rate * gy[i]) * x[j], in this order.
 */
#ifndef TINYODL_GEMM_GRADIENT_F32_H
#define TINYODL_GEMM_GRADIENT_F32_H

#include <stddef.h>
#include <stdint.h>

#include "learner_f32.h"
#include "tile_f32.h"

/// One row ///

/* Outputs from i on, side by side: each x[j] is loaded once for all. */
TILE_INLINE void gemm_learn_f32(int32_t lanes, int32_t i, int32_t k, const float *restrict gy,
                                const float *restrict x, const learner_f32 *learner)
{
    float g[TILE_LANES];

    lanes_load(lanes, g, gy + i, 1);
    learner_prepare_f32(learner, lanes, g);
    for (int32_t j = 0; j < k; j++) {
        learner_take_products_f32(learner, lanes, i * k + j, k, g, x[j]);
    }
}

TILE_INLINE void gemm_weight_gradient_f32(int32_t n, int32_t k, const float *restrict gy,
                                          const float *restrict x, const learner_f32 *learner)
{
    const int32_t fits = n % 6 == 0 ? 6 : n % 5 == 0 ? 5 : n < 4 ? n : 4;
    const int32_t lanes = fits < LEARNER_LANES ? fits : LEARNER_LANES;
    const int32_t whole = n / lanes * lanes;

    for (int32_t i = 0; i < whole; i += lanes) {
        gemm_learn_f32(lanes, i, k, gy, x, learner);
    }
    for (int32_t i = whole; i < n; i++) {
        gemm_learn_f32(1, i, k, gy, x, learner);
    }
}

static inline void gemm_bias_gradient_f32(int32_t n, const float *restrict gy,
                                          const learner_f32 *learner)
{
    for (int32_t i = 0; i < n; i++) {
        learner_take_f32(learner, i, gy[i]);
    }
}

/// Several rows, which are summed in their order ///

TILE_INLINE void gemm_rows_weight_gradient_f32(int32_t rows, int32_t n, int32_t k,
                                               const float *restrict gy, const float *restrict x,
                                               const learner_f32 *learner)
{
    const int32_t high = lanes_of(n, TILE_ROWS), wide = lanes_of(k, TILE_ROWS);

    for (int32_t row = 0; row < n; row += high) {
        const int32_t i = turn_start(row, high, n);

        for (int32_t column = 0; column < k; column += wide) {
            const int32_t j = turn_start(column, wide, k);
            tile_f32 sums;

            tile_start(high, wide, &sums, NULL, 0, 0);
            for (int32_t r = 0; r < rows; r++) {
                float of_rows[TILE_ROWS], of_columns[TILE_LANES];
                lanes_load(high, of_rows, gy + r * n + i, 1);
                lanes_load(wide, of_columns, x + r * k + j, 1);
                tile_add(high, wide, &sums, of_rows, of_columns);
            }
            learner_take_tile_f32(learner, high, wide, row - i, column - j, &sums, i * k + j, k, 1);
        }
    }
}

static inline void gemm_rows_bias_gradient_f32(int32_t rows, int32_t n, const float *restrict gy,
                                               const learner_f32 *learner)
{
    for (int32_t i = 0; i < n; i++) {
        float sum = 0.0f;
        for (int32_t row = 0; row < rows; row++) {
            sum += gy[row * n + i];
        }
        learner_take_f32(learner, i, sum);
    }
}

#endif
