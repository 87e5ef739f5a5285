/* exp and log in float32, from adds, multiplies and bit patterns only, so that every machine gives
 * the same bits. Within 2 units of the last place of the true value (a test sweeps them).
 *
 * Range reduction after Cody and Waite; the polynomials are those of Moshier's Cephes (expf, logf).
 */
#ifndef TINYODL_MATH_F32_H
#define TINYODL_MATH_F32_H

#include <stdint.h>
#include <string.h>

static inline float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* e^x = 2^n * e^r with |r| <= ln 2 / 2. Below -87.3 the result is 0, above 88.7 it is 2^128 rounded
 * down to the largest float. */
static inline float exp_f32(float x)
{
    if (!(x > -87.33654f)) {
        return 0.0f;
    }
    if (x > 88.72283f) {
        return 3.40282347e+38f;
    }
    const float scaled = x * 1.44269504f;
    const int32_t n = (int32_t)(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
    const float r = (x - (float)n * 0.693359375f) - (float)n * -2.12194440e-4f;

    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;

    /* 2^n in two factors: n reaches 128, one more than an exponent holds. */
    const int32_t half = n / 2;
    return p * float_of_bits((uint32_t)(half + 127) << 23) *
           float_of_bits((uint32_t)(n - half + 127) << 23);
}

/* log(m * 2^e) = log m + e * ln 2 with m in [sqrt(1/2), sqrt 2). For positive, normal x. */
static inline float log_f32(float x)
{
    const uint32_t bits = bits_of_float(x);
    int32_t e = (int32_t)(bits >> 23) - 126;
    float m = float_of_bits((bits & 0x007fffffu) | 0x3f000000u);
    if (m < 0.707106781f) {
        m = m + m;
        e -= 1;
    }
    const float t = m - 1.0f;

    float p = 7.0376836292e-2f;
    p = p * t - 1.1514610310e-1f;
    p = p * t + 1.1676998740e-1f;
    p = p * t - 1.2420140846e-1f;
    p = p * t + 1.4249322787e-1f;
    p = p * t - 1.6668057665e-1f;
    p = p * t + 2.0000714765e-1f;
    p = p * t - 2.4999993993e-1f;
    p = p * t + 3.3333331174e-1f;
    const float square = t * t;
    const float tail = p * t * square + (float)e * -2.12194440e-4f - 0.5f * square;
    return (t + tail) + (float)e * 0.693359375f;
}

#endif
