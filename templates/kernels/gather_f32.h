/* Gather of float32 slices along one axis, by indices that are known at compile time.
 *
 * x (outer, in_count, inner), y (outer, count, inner)
 *
 *   y[o, i, :] = x[o, index[i], :]        gx[o, index[i], :] += gy[o, i, :]
 */
#ifndef TINYODL_GATHER_F32_H
#define TINYODL_GATHER_F32_H

#include <stdint.h>

typedef struct {
    int32_t outer, in_count, count, inner;
    int32_t index[]; /* count of them, each in 0 .. in_count - 1 */
} gather_shape;

static inline void gather_f32(const gather_shape *s, const float *restrict x, float *restrict y)
{
    for (int32_t o = 0; o < s->outer; o++, x += s->in_count * s->inner) {
        for (int32_t i = 0; i < s->count; i++) {
            const float *slice = x + s->index[i] * s->inner;
            for (int32_t j = 0; j < s->inner; j++) {
                *y++ = slice[j];
            }
        }
    }
}

static inline void gather_gradient_f32(const gather_shape *s, const float *restrict gy,
                                       float *restrict gx)
{
    for (int32_t i = 0; i < s->outer * s->in_count * s->inner; i++) {
        gx[i] = 0.0f;
    }
    for (int32_t o = 0; o < s->outer; o++, gx += s->in_count * s->inner) {
        for (int32_t i = 0; i < s->count; i++) {
            float *slice = gx + s->index[i] * s->inner;
            for (int32_t j = 0; j < s->inner; j++) {
                slice[j] += *gy++;
            }
        }
    }
}

#endif
