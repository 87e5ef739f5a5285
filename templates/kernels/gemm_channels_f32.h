/* A dense layer on one row of which some outputs learn their weights (channel_rows.h). The formulas and
 * the order of sums are those of gemm_f32.h: the same bits.
 */
#ifndef TINYODL_GEMM_CHANNELS_F32_H
#define TINYODL_GEMM_CHANNELS_F32_H

#include "channel_rows.h"
#include "tile_f32.h"

static inline void gemm_channels_f32(int32_t n, int32_t k, int32_t learning, int32_t pitch,
                                     const uint16_t *place, const float *w, const float *rest,
                                     const float *restrict x, const float *restrict b,
                                     float *restrict y)
{
    const channel_rows rows = {w, rest, place, learning, pitch};
    for (int32_t i = 0; i < n; i += TILE_ROWS) {
        const float *row[TILE_ROWS];
        float sums[TILE_ROWS];

        for (int32_t r = 0; r < TILE_ROWS; r++) {
            const int32_t m = i + r < n ? i + r : n - 1; /* behind the last one: not stored */
            row[r] = channel_row(&rows, m);
            sums[r] = b ? b[m] : 0.0f;
        }
        for (int32_t j = 0; j < k; j++) {
            const float value = x[j];
            sums[0] += row[0][j] * value;
            sums[1] += row[1][j] * value;
            sums[2] += row[2][j] * value;
            sums[3] += row[3][j] * value;
        }
        for (int32_t r = 0; r < TILE_ROWS && i + r < n; r++) {
            y[i + r] = sums[r];
        }
    }
}

static inline void gemm_channels_input_gradient_f32(int32_t n, int32_t k, int32_t learning,
                                                    int32_t pitch, const uint16_t *place,
                                                    const float *w, const float *rest,
                                                    const float *restrict gy, float *restrict gx)
{
    const channel_rows rows = {w, rest, place, learning, pitch};
    for (int32_t j = 0; j < k; j++) {
        gx[j] = 0.0f;
    }
    for (int32_t i = 0; i < n; i++) {
        const float *row = channel_row(&rows, i);
        const float g = gy[i];
        for (int32_t j = 0; j < k; j++) {
            gx[j] += row[j] * g;
        }
    }
}

#endif
