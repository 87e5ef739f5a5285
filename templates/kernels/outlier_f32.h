/* Outliers: samples far outside those before, from which nothing is learned (docs/outliers.md).
 *
 * The peak of an input x is its largest |x|, kept as bits: those of finite numbers have the order of
 * the numbers, and those of infinity and of what is no number come behind. `reach` is how far the
 * peaks went so far, 0 before the first sample. A sample is an outlier if one of its inputs has
 *
 *   a value that is not finite,  or  peak > factor reach  (factor > 0, reach > 0)
 *
 * and otherwise  reach = peak  if it was 0,  else the larger of reach and min(peak, 2 reach).
 */
#ifndef TINYODL_OUTLIER_F32_H
#define TINYODL_OUTLIER_F32_H

#include <stdint.h>
#include <string.h>

/* The peak of n values, and of those before them whose peak is given. */
static inline uint32_t peak_f32(int32_t n, const float *x, uint32_t peak)
{
    for (int32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffffu;
        peak = bits > peak ? bits : peak;
    }
    return peak;
}

/* Whether a sample of n inputs is an outlier; if not, it moves their reach. */
static inline int32_t outlier_f32(int32_t n, float factor, const uint32_t *peaks, float *reach)
{
    const uint32_t infinity = 0x7f800000u;
    float peak;

    for (int32_t i = 0; i < n; i++) {
        memcpy(&peak, peaks + i, sizeof peak);
        if (peaks[i] >= infinity ||
            (factor > 0.0f && reach[i] > 0.0f && peak > factor * reach[i])) {
            return 1;
        }
    }
    for (int32_t i = 0; i < n; i++) {
        memcpy(&peak, peaks + i, sizeof peak);
        if (peak > reach[i]) {
            reach[i] = reach[i] > 0.0f && peak > 2.0f * reach[i] ? 2.0f * reach[i] : peak;
        }
    }
    return 0;
}

#endif
