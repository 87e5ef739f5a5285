/* The gradient of a matrix product's constant operand, handed to the learner. */
#ifndef TINYODL_CONTRACTION_GRADIENT_F32_H
#define TINYODL_CONTRACTION_GRADIENT_F32_H

#include <stdint.h>

#include "contraction_f32.h"
#include "learner_f32.h"
#include "tile_f32.h"

TILE_INLINE void contract_gradient_f32(const contraction *s, float alpha,
                                       const float *restrict left, const float *restrict right,
                                       const learner_f32 *learner)
{
    const int32_t rows = lanes_of(s->rows, TILE_ROWS), columns = lanes_of(s->columns, TILE_ROWS);

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
                learner_take_tile_f32(learner, rows, columns, i - row, j - column, &sums,
                                      (o * s->rows + row) * s->columns + column, s->columns, 1);
            }
        }
    }
}

#endif
