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

/* One element; summed in the order s, k. */
static inline float contraction_sum(const contraction *s, const float *left, const float *right)
{
    float sum = 0.0f;
    for (int32_t a = 0; a < s->summed[0]; a++) {
        for (int32_t b = 0; b < s->summed[1]; b++) {
            for (int32_t c = 0; c < s->summed[2]; c++) {
                const float *l = left + a * s->summed_left[0] + b * s->summed_left[1] +
                                 c * s->summed_left[2];
                const float *r = right + a * s->summed_right[0] + b * s->summed_right[1] +
                                 c * s->summed_right[2];
                for (int32_t k = 0; k < s->inner; k++) {
                    sum += l[k * s->inner_left] * r[k * s->inner_right];
                }
            }
        }
    }
    return sum;
}

static inline void contract_f32(const contraction *s, float alpha, const float *restrict left,
                                const float *restrict right, float *restrict y)
{
    for (int32_t o = 0; o < s->outer[0] * s->outer[1] * s->outer[2]; o++) {
        const float *l = left, *r = right;
        contraction_block(s, o, &l, &r);
        for (int32_t i = 0; i < s->rows; i++) {
            for (int32_t j = 0; j < s->columns; j++) {
                *y++ = alpha *
                       contraction_sum(s, l + i * s->rows_left, r + j * s->columns_right);
            }
        }
    }
}

#endif
