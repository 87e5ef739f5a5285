/* Relu and Clip on n values, forward and backward. The output may be the input's own memory. */
#ifndef TINYODL_ACTIVATION_F32_H
#define TINYODL_ACTIVATION_F32_H

#include <stdint.h>
#include <string.h>

/* On the bits, read as an integer: both have the same sign. A NaN without the sign bit stays a NaN. */
static inline void relu_f32(int32_t n, const float *x, float *y)
{
#pragma GCC unroll 4
    for (int32_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= ~(bits >> 31);
        memcpy(y + i, &bits, sizeof bits);
    }
}

static inline void relu_gradient_f32(int32_t n, const float *gy, const float *y, float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = y[i] > 0.0f ? gy[i] : 0.0f;
    }
}

static inline void clip_f32(int32_t n, float min, float max, const float *x, float *y)
{
    for (int32_t i = 0; i < n; i++) {
        const float raised = x[i] < min ? min : x[i];
        y[i] = raised > max ? max : raised;
    }
}

static inline void clip_gradient_f32(int32_t n, float min, float max, const float *gy, const float *y,
                              float *gx)
{
    for (int32_t i = 0; i < n; i++) {
        gx[i] = y[i] > min && y[i] < max ? gy[i] : 0.0f;
    }
}

#endif
