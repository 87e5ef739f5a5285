/* Reductions of float32 tensors over any of their axes, forward and backward.
 *
 * A group has the values reduced to one element of y. Groups are in the order of the kept axes; within
 * a group, values are taken in the order of the reduced axes.
 */
#ifndef TINYODL_REDUCE_F32_H
#define TINYODL_REDUCE_F32_H

#include <stdint.h>

#include "strides.h"

typedef struct {
    int32_t kept[3], kept_stride[3]; /* axes of the groups; sizes of 1 where there are fewer */
    int32_t reduced[3], reduced_stride[3];
} reduce_shape;

/* Where group g begins, and where its member m lies from there. */
static inline __attribute__((always_inline)) int32_t group_in_shape(const reduce_shape *s,
                                                                    int32_t g)
{
    return place_in_shape(s->kept, s->kept_stride, g);
}

static inline __attribute__((always_inline)) int32_t member_in_shape(const reduce_shape *s,
                                                                     int32_t m)
{
    return place_in_shape(s->reduced, s->reduced_stride, m);
}

/// Sum and mean: y = sum of x / divisor, gx = gy / divisor ///

static inline __attribute__((always_inline)) void reduce_sum_f32(const reduce_shape *s,
                                                                 float divisor,
                                                                 const float *restrict x,
                                                                 float *restrict y)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        const float *group = x + group_in_shape(s, g);
        float sum = 0.0f;
        for (int32_t m = 0; m < elements_of_shape(s->reduced); m++) {
            sum += group[member_in_shape(s, m)];
        }
        y[g] = sum / divisor;
    }
}

static inline __attribute__((always_inline)) void reduce_sum_gradient_f32(const reduce_shape *s,
                                                                          float divisor,
                                                                          const float *restrict gy,
                                                                          float *restrict gx)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        float *group = gx + group_in_shape(s, g);
        const float share = gy[g] / divisor;
        for (int32_t m = 0; m < elements_of_shape(s->reduced); m++) {
            group[member_in_shape(s, m)] = share;
        }
    }
}

/// Largest and smallest: members that are equal to y share gy evenly ///

static inline __attribute__((always_inline)) void reduce_max_f32(const reduce_shape *s,
                                                                 const float *restrict x,
                                                                 float *restrict y)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        const float *group = x + group_in_shape(s, g);
        float max = group[0];
        for (int32_t m = 1; m < elements_of_shape(s->reduced); m++) {
            const float value = group[member_in_shape(s, m)];
            max = value > max ? value : max;
        }
        y[g] = max;
    }
}

static inline __attribute__((always_inline)) void reduce_min_f32(const reduce_shape *s,
                                                                 const float *restrict x,
                                                                 float *restrict y)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        const float *group = x + group_in_shape(s, g);
        float min = group[0];
        for (int32_t m = 1; m < elements_of_shape(s->reduced); m++) {
            const float value = group[member_in_shape(s, m)];
            min = value < min ? value : min;
        }
        y[g] = min;
    }
}

static inline __attribute__((always_inline)) void
reduce_extreme_gradient_f32(const reduce_shape *s, const float *restrict gy,
                            const float *restrict x, const float *restrict y, float *restrict gx)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        const float *group = x + group_in_shape(s, g);
        float *out = gx + group_in_shape(s, g);
        int32_t equal = 0;
        for (int32_t m = 0; m < elements_of_shape(s->reduced); m++) {
            equal += group[member_in_shape(s, m)] == y[g];
        }
        const float share = gy[g] / (float)equal;
        for (int32_t m = 0; m < elements_of_shape(s->reduced); m++) {
            const int32_t i = member_in_shape(s, m);
            out[i] = group[i] == y[g] ? share : 0.0f;
        }
    }
}

/// Sums of magnitudes and of squares ///

/* y = sum of |x| */
static inline __attribute__((always_inline)) void reduce_l1_f32(const reduce_shape *s,
                                                                const float *restrict x,
                                                                float *restrict y)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        const float *group = x + group_in_shape(s, g);
        float sum = 0.0f;
        for (int32_t m = 0; m < elements_of_shape(s->reduced); m++) {
            const float value = group[member_in_shape(s, m)];
            sum += value < 0.0f ? -value : value;
        }
        y[g] = sum;
    }
}

/* gx = gy * sign x, with sign 0 = 0 */
static inline __attribute__((always_inline)) void reduce_l1_gradient_f32(const reduce_shape *s,
                                                                         const float *restrict gy,
                                                                         const float *restrict x,
                                                                         float *restrict gx)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        const int32_t start = group_in_shape(s, g);
        for (int32_t m = 0; m < elements_of_shape(s->reduced); m++) {
            const int32_t i = start + member_in_shape(s, m);
            gx[i] = x[i] > 0.0f ? gy[g] : x[i] < 0.0f ? -gy[g] : 0.0f;
        }
    }
}

/* y = sum of x^2 */
static inline __attribute__((always_inline)) void reduce_square_f32(const reduce_shape *s,
                                                                    const float *restrict x,
                                                                    float *restrict y)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        const float *group = x + group_in_shape(s, g);
        float sum = 0.0f;
        for (int32_t m = 0; m < elements_of_shape(s->reduced); m++) {
            const float value = group[member_in_shape(s, m)];
            sum += value * value;
        }
        y[g] = sum;
    }
}

/* gx = 2 x gy */
static inline __attribute__((always_inline)) void
reduce_square_gradient_f32(const reduce_shape *s, const float *restrict gy,
                           const float *restrict x, float *restrict gx)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        const int32_t start = group_in_shape(s, g);
        for (int32_t m = 0; m < elements_of_shape(s->reduced); m++) {
            const int32_t i = start + member_in_shape(s, m);
            gx[i] = 2.0f * x[i] * gy[g];
        }
    }
}

/* y = square root of the sum of x^2 */
static inline __attribute__((always_inline)) void reduce_l2_f32(const reduce_shape *s,
                                                                const float *restrict x,
                                                                float *restrict y)
{
    reduce_square_f32(s, x, y);
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        y[g] = __builtin_sqrtf(y[g]);
    }
}

/* gx = gy * x / y, and 0 where y = 0 */
static inline __attribute__((always_inline)) void
reduce_l2_gradient_f32(const reduce_shape *s, const float *restrict gy, const float *restrict x,
                       const float *restrict y, float *restrict gx)
{
    for (int32_t g = 0; g < elements_of_shape(s->kept); g++) {
        const int32_t start = group_in_shape(s, g);
        const float factor = y[g] > 0.0f ? gy[g] / y[g] : 0.0f;
        for (int32_t m = 0; m < elements_of_shape(s->reduced); m++) {
            const int32_t i = start + member_in_shape(s, m);
            gx[i] = factor * x[i];
        }
    }
}

#endif
