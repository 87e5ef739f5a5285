/* Copies of float32 values between places with different strides. Transpose, Slice, Expand, Concat,
 * Split, Pad with a constant, and their gradients are such copies, some after a fill.
 *
 *   to[to_start + i . to_stride] = from[from_start + i . from_stride]      for every index i
 *
 * An index has up to six axes, three outer and three inner. A stride of 0 repeats the values, a
 * negative one reverses them.
 */
#ifndef TINYODL_COPY_F32_H
#define TINYODL_COPY_F32_H

#include <stdint.h>

#include "strides.h"

typedef struct {
    int32_t outer[3], inner[3]; /* sizes of the axes, 1 where there are fewer */
    int32_t from_start, from_outer[3], from_inner[3];
    int32_t to_start, to_outer[3], to_inner[3];
} copy_shape;

static inline __attribute__((always_inline)) void copy_f32(const copy_shape *s,
                                                           const float *restrict from,
                                                           float *restrict to)
{
    for (int32_t o = 0; o < elements_of_shape(s->outer); o++) {
        const float *f = from + s->from_start + place_in_shape(s->outer, s->from_outer, o);
        float *t = to + s->to_start + place_in_shape(s->outer, s->to_outer, o);
        for (int32_t i = 0; i < elements_of_shape(s->inner); i++) {
            t[place_in_shape(s->inner, s->to_inner, i)] =
                f[place_in_shape(s->inner, s->from_inner, i)];
        }
    }
}

static inline void fill_f32(int32_t n, float value, float *to)
{
    for (int32_t i = 0; i < n; i++) {
        to[i] = value;
    }
}

#endif
