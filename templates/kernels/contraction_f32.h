/* Products summed over some axes of two float32 tensors, whatever their order in memory: the matrix
 * product with all its transposes and broadcasts, and its gradients.
 *
 *   y[o, i, j] = alpha * sum over s, k of left[o, s, i, k] * right[o, s, k, j]
 *
 * y is in the order of its axes; each operand has a stride for each axis, 0 where it has no such axis.
 * `outer` are the axes o, `summed` the axes s, three each, slowest first.
 */
#ifndef TINYODL_CONTRACTION_F32_H
#define TINYODL_CONTRACTION_F32_H

#include <stddef.h>
#include <stdint.h>

#include "tile_f32.h"

typedef struct {
    int32_t outer[3], outer_left[3], outer_right[3];
    int32_t rows, rows_left;
    int32_t columns, columns_right;
    int32_t summed[3], summed_left[3], summed_right[3];
    int32_t inner, inner_left, inner_right;
} contraction;

/* Where the matrices of block o start. */
static inline void contraction_block(const contraction *s, int32_t o, const float **left,
                                     const float **right)
{
    for (int32_t axis = 2; axis >= 0; axis--) {
        const int32_t at = o % s->outer[axis];
        *left += at * s->outer_left[axis];
        *right += at * s->outer_right[axis];
        o /= s->outer[axis];
    }
}

/* A tile of elements; summed in the order s, k. */
TILE_INLINE void contraction_tile(const contraction *s, int32_t rows, int32_t columns,
                                  const float *left, const float *right, tile_f32 *sums)
{
    tile_start(rows, columns, sums, NULL, 0, 0);
    for (int32_t a = 0; a < s->summed[0]; a++) {
        for (int32_t b = 0; b < s->summed[1]; b++) {
            for (int32_t c = 0; c < s->summed[2]; c++) {
                const float *l = left + a * s->summed_left[0] + b * s->summed_left[1] +
                                 c * s->summed_left[2];
                const float *r = right + a * s->summed_right[0] + b * s->summed_right[1] +
                                 c * s->summed_right[2];

                for (int32_t k = 0; k < s->inner; k++) {
                    float of_rows[TILE_ROWS], of_columns[TILE_LANES];
                    lanes_load(rows, of_rows, l + k * s->inner_left, s->rows_left);
                    lanes_load(columns, of_columns, r + k * s->inner_right, s->columns_right);
                    tile_add(rows, columns, sums, of_rows, of_columns);
                }
            }
        }
    }
}

TILE_INLINE void contract_f32(const contraction *s, float alpha, const float *restrict left,
                              const float *restrict right, float *restrict y)
{
    const int32_t rows = lanes_of(s->rows, TILE_ROWS);
    const int32_t columns = lanes_of(s->columns, s->rows > 1 ? TILE_ROWS : TILE_LANES);

    for (int32_t o = 0; o < s->outer[0] * s->outer[1] * s->outer[2]; o++) {
        const float *l = left, *r = right;
        contraction_block(s, o, &l, &r);
        for (int32_t i = 0; i < s->rows; i += rows) {
            const int32_t row = turn_start(i, rows, s->rows);
            for (int32_t j = 0; j < s->columns; j += columns) {
                const int32_t column = turn_start(j, columns, s->columns);
                tile_f32 sums;

                contraction_tile(s, rows, columns, l + row * s->rows_left,
                                 r + column * s->columns_right, &sums);
                tile_scale(rows, columns, &sums, alpha);
                tile_store(rows, columns, &sums, y + (o * s->rows + row) * s->columns + column,
                           s->columns, 1);
            }
        }
    }
}

#endif
