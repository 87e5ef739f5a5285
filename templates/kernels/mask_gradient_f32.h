/* gx[i] = gy[i] where the mask lets the gradient pass, else 0; gx may be gy itself. gy and gx are the
 * n elements from element part * n of the map on. */
#ifndef TINYODL_MASK_GRADIENT_F32_H
#define TINYODL_MASK_GRADIENT_F32_H

#include <stdint.h>

#include "quantize.h"

static inline void mask_gradient_f32(int32_t part, int32_t n, const float *gy,
                                     const uint8_t *mask, float *gx)
{
    const int32_t first = part * n;
    for (int32_t i = 0; i < n; i++) {
        gx[i] = mask_get(mask, first + i) ? gy[i] : 0.0f;
    }
}

#endif
