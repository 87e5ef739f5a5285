/* exp, log and functions built on them, in float32. They use only adds, multiplies, divisions and bit
 * patterns, so every machine gives the same bits. Errors are a few units in the last place; a test
 * sweeps each function over its range and states how many.
 *
 * Range reduction after Cody and Waite; the polynomials of exp, log, tanh and erf are those of
 * Moshier's Cephes (expf, logf, tanhf, erff and erfcf); log1p after Kahan.
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

/// Exponentials ///

/* x = n * ln 2 + r with |r| <= ln 2 / 2; returns e^r - 1. For x between -87.4 and 88.8. */
static inline float exp_reduced_f32(float x, int32_t *n)
{
    const float scaled = x * 1.44269504f;
    *n = (int32_t)(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
    const float r = (x - (float)*n * 0.693359375f) - (float)*n * -2.12194440e-4f;

    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r;
}

/* 2^n for n from -126 to 127. */
static inline float power_of_two_f32(int32_t n)
{
    return float_of_bits((uint32_t)(n + 127) << 23);
}

/* e^x = 2^n * e^r. Below -87.3 the result is 0, above 88.7 it is 2^128 rounded down to the largest
 * float. */
static inline float exp_f32(float x)
{
    if (!(x > -87.33654f)) {
        return 0.0f;
    }
    if (x > 88.72283f) {
        return 3.40282347e+38f;
    }
    int32_t n;
    const float p = exp_reduced_f32(x, &n) + 1.0f;
    /* 2^n in two factors: n reaches 128, one more than an exponent holds. */
    const int32_t half = n / 2;
    return p * power_of_two_f32(half) * power_of_two_f32(n - half);
}

/* e^x - 1 = 2^n * (e^r - 1) + (2^n - 1), without the loss of digits around 0. */
static inline float expm1_f32(float x)
{
    if (!(x > -17.0f)) {
        return -1.0f;
    }
    if (x > 87.0f) {
        return exp_f32(x);
    }
    int32_t n;
    const float p = exp_reduced_f32(x, &n);
    const float scale = power_of_two_f32(n);
    return p * scale + (scale - 1.0f);
}

/* 1 / (1 + e^-x), from the exponential that does not overflow. */
static inline float sigmoid_f32(float x)
{
    const float e = exp_f32(x < 0.0f ? x : -x);
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

static inline float tanh_f32(float x)
{
    const float size = x < 0.0f ? -x : x;
    if (size < 0.625f) {
        const float square = x * x;
        float p = -5.70498872745e-3f;
        p = p * square + 2.06390887954e-2f;
        p = p * square - 5.37397155531e-2f;
        p = p * square + 1.33314422036e-1f;
        p = p * square - 3.33332819422e-1f;
        return p * square * x + x;
    }
    const float y = size > 10.0f ? 1.0f : 1.0f - 2.0f / (exp_f32(size + size) + 1.0f);
    return x < 0.0f ? -y : y;
}

/// Logarithms ///

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

/* log of any float: minus infinity at 0, NaN below, infinity at infinity, exact scaling where x has
 * lost the normal form. */
static inline float any_log_f32(float x)
{
    if (!(x > 0.0f)) {
        return x == 0.0f ? -__builtin_inff() : __builtin_nanf("");
    }
    if (x > 3.40282347e+38f) {
        return x;
    }
    return x < 1.17549435e-38f ? log_f32(x * 8388608.0f) - 15.9423847f : log_f32(x);
}

/* log(1 + x) for x > -1: what rounding 1 + x to u changed is put right by the factor x / (u - 1). */
static inline float log1p_f32(float x)
{
    const float u = 1.0f + x;
    return u == 1.0f ? x : log_f32(u) * (x / (u - 1.0f));
}

/* log(1 + e^x) */
static inline float softplus_f32(float x)
{
    const float rest = log1p_f32(exp_f32(x < 0.0f ? x : -x));
    return x > 0.0f ? x + rest : rest;
}

/// The error function ///

/* 1 - erf(x) for x >= 1, as e^(-x^2) / x times a polynomial in 1 / x^2. */
static inline float erfc_tail_f32(float x)
{
    const float q = 1.0f / x;
    const float y = q * q;
    float p;
    if (x < 2.0f) {
        p = 2.326819970068386e-2f;
        p = p * y - 1.387039388740657e-1f;
        p = p * y + 3.687424674597105e-1f;
        p = p * y - 5.824733027278666e-1f;
        p = p * y + 6.210004621745983e-1f;
        p = p * y - 4.944515323274145e-1f;
        p = p * y + 3.404879937665872e-1f;
        p = p * y - 2.741127028184656e-1f;
        p = p * y + 5.638259427386472e-1f;
    } else {
        p = -1.047766399936249e+1f;
        p = p * y + 1.297719955372516e+1f;
        p = p * y - 7.495518717768503e+0f;
        p = p * y + 2.921019019210786e+0f;
        p = p * y - 1.015265279202700e+0f;
        p = p * y + 4.218463358204948e-1f;
        p = p * y - 2.820767439740514e-1f;
        p = p * y + 5.641895067754075e-1f;
    }
    return exp_f32(-x * x) * q * p;
}

static inline float erf_f32(float x)
{
    const float size = x < 0.0f ? -x : x;
    if (size < 1.0f) {
        const float square = x * x;
        float p = 7.853861353153693e-5f;
        p = p * square - 8.010193625184903e-4f;
        p = p * square + 5.188327685732524e-3f;
        p = p * square - 2.685381193529856e-2f;
        p = p * square + 1.128358514861418e-1f;
        p = p * square - 3.761262582423300e-1f;
        p = p * square + 1.128379165726710e+0f;
        return p * x;
    }
    const float y = size > 4.0f ? 1.0f : 1.0f - erfc_tail_f32(size);
    return x < 0.0f ? -y : y;
}

/// Powers ///

/* x^n by repeated squaring; an error of about n units of the last place. */
static inline float integer_power_f32(float x, uint32_t n)
{
    float y = 1.0f;
    for (float square = x; n; square *= square, n >>= 1) {
        if (n & 1u) {
            y *= square;
        }
    }
    return y;
}

/* x^(halves / 2 + rest), where rest has the sign of halves and is less than 1/2: multiplications for
 * the whole part, a square root for a half, exp and log for what is left. NaN for negative x, unless
 * the exponent is whole. */
static inline float power_f32(float x, int32_t halves, float rest)
{
    const uint32_t size = (uint32_t)(halves < 0 ? -halves : halves);
    float y = integer_power_f32(x, size / 2);
    if (size % 2) {
        y *= __builtin_sqrtf(x);
    }
    if (halves < 0) {
        y = 1.0f / y;
    }
    if (rest == 0.0f) {
        return y;
    }
    return x < 0.0f ? __builtin_nanf("") : y * exp_f32(rest * any_log_f32(x));
}

#endif
