/* Dense layer on a float32 vector, or on each row of a matrix: forward and the gradient of the input.
 *
 * x (rows, k), w (n, k), b (n) or NULL, y (rows, n)
 *
 *   y[i]  = b[i] + sum over j of w[i, j] * x[j]
 *   gx[j] = sum over i of w[i, j] * gy[i]
 *
 * summed in this order.
 */
#ifndef TINYODL_GEMM_F32_H
#define TINYODL_GEMM_F32_H

#include <stddef.h>
#include <stdint.h>

#include "tile_f32.h"

/* Where the factors of sums lie: that of lane i in term t at from[i * lane + t * term]. */
typedef struct {
    const float *from;
    int32_t lane, term;
} factors_f32;

/* y[i, j] = b[j] + sum over t of left[i, t] * right[j, t] */
TILE_INLINE void product_f32(int32_t rows, int32_t columns, int32_t terms, factors_f32 left,
                             factors_f32 right, const float *restrict b, float *restrict y)
{
    const int32_t high = lanes_of(rows, TILE_ROWS);
    const int32_t wide = lanes_of(columns, rows > 1 ? TILE_ROWS : TILE_LANES);

    for (int32_t row = 0; row < rows; row += high) {
        const int32_t i = turn_start(row, high, rows);

        for (int32_t column = 0; column < columns; column += wide) {
            const int32_t j = turn_start(column, wide, columns);
            tile_f32 sums;

            tile_start(high, wide, &sums, b ? b + j : NULL, 0, 1);
            for (int32_t t = 0; t < terms; t++) {
                float of_rows[TILE_ROWS], of_columns[TILE_LANES];
                lanes_load(high, of_rows, left.from + i * left.lane + t * left.term, left.lane);
                lanes_load(wide, of_columns, right.from + j * right.lane + t * right.term,
                           right.lane);
                tile_add(high, wide, &sums, of_rows, of_columns);
            }
            tile_store(high, wide, &sums, y + i * columns + j, columns, 1);
        }
    }
}

TILE_INLINE void gemm_rows_f32(int32_t rows, int32_t n, int32_t k, const float *restrict x,
                               const float *restrict w, const float *restrict b, float *restrict y)
{
    product_f32(rows, n, k, (factors_f32){x, k, 1}, (factors_f32){w, k, 1}, b, y);
}

TILE_INLINE void gemm_f32(int32_t n, int32_t k, const float *restrict x, const float *restrict w,
                          const float *restrict b, float *restrict y)
{
    gemm_rows_f32(1, n, k, x, w, b, y);
}

TILE_INLINE void gemm_rows_input_gradient_f32(int32_t rows, int32_t n, int32_t k,
                                              const float *restrict gy, const float *restrict w,
                                              float *restrict gx)
{
    product_f32(rows, k, n, (factors_f32){gy, n, 1}, (factors_f32){w, 1, k}, NULL, gx);
}

TILE_INLINE void gemm_input_gradient_f32(int32_t n, int32_t k, const float *restrict gy,
                                         const float *restrict w, float *restrict gx)
{
    gemm_rows_input_gradient_f32(1, n, k, gy, w, gx);
}

#endif
