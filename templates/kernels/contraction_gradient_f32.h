/* The gradient of a matrix product's constant operand, handed to the learner element by element. */
#ifndef TINYODL_CONTRACTION_GRADIENT_F32_H
#define TINYODL_CONTRACTION_GRADIENT_F32_H

#include <stdint.h>

#include "contraction_f32.h"
#include "learner_f32.h"

static inline void contract_gradient_f32(const contraction *s, float alpha,
                                         const float *restrict left, const float *restrict right,
                                         const learner_f32 *learner)
{
    int32_t element = 0;
    for (int32_t o = 0; o < s->outer[0] * s->outer[1] * s->outer[2]; o++) {
        const float *l = left, *r = right;
        contraction_block(s, o, &l, &r);
        for (int32_t i = 0; i < s->rows; i++) {
            for (int32_t j = 0; j < s->columns; j++) {
                const float sum =
                    contraction_sum(s, l + i * s->rows_left, r + j * s->columns_right);
                learner_take_f32(learner, element++, alpha * sum);
            }
        }
    }
}

#endif
