/* gx[i] = gy[i] where the mask lets the gradient pass, else 0; gx may be gy itself. gy and gx are the
 * n elements from element part * n of the map on. */
#ifndef TINYODL_MASK_GRADIENT_F32_H
#define TINYODL_MASK_GRADIENT_F32_H

#include <stdint.h>
#include <string.h>

#include "in_register.h"
#include "quantize.h"

/* What does not pass becomes 0, for the eight elements of a byte at a time. */
static __attribute__((noinline, unused)) void mask_in_place(int32_t first, int32_t n,
                                                            const uint8_t *mask, float *g)
{
    for (; n > 0 && first % 8 != 0; n--, first++, g++) {
        if (!mask_get(mask, first)) {
            *g = 0.0f;
        }
    }
    for (mask += first / 8; n >= 8; n -= 8, g += 8) {
        const uint32_t bits = *mask++;
        IN_REGISTER(g);
#pragma GCC unroll 8
        for (int32_t i = 0; i < 8; i++) {
            if (!(bits >> i & 1u)) {
                g[i] = 0.0f;
            }
        }
    }
    for (int32_t i = 0; i < n; i++) {
        if (!mask_get(mask, i)) {
            g[i] = 0.0f;
        }
    }
}

static inline void mask_gradient_f32(int32_t part, int32_t n, const float *gy, const uint8_t *mask,
                                     float *gx)
{
    if (gx != gy) {
        memcpy(gx, gy, (size_t)n * sizeof *gx);
    }
    mask_in_place(part * n, n, mask, gx);
}

#endif
