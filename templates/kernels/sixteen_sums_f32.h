/* Sixteen sums of products: of four maps with four others, which lie side by side.
 *
 *   sums[4 * i + c] = sum over p < n of maps[i][p] * x[4 * p + c], in this order, from 0
 *
 * All sums stay in registers. On a Cortex-M4F two positions are a turn of five loads: the numbers of a
 * turn lie one behind the other, and GCC 12 would take an instruction for each. */
#ifndef TINYODL_SIXTEEN_SUMS_F32_H
#define TINYODL_SIXTEEN_SUMS_F32_H

#include <stdint.h>

#include "quantize.h"

#if QUANTIZE_FPU

/* s8 is multiplied with four numbers of x, then s9 with the next four, and four sums grow. */
#define SIXTEEN_SUMS_ROW(map, a, b, c, d) \
    "vldmia %[" map "]!, {s8, s9}\n\t" \
    "vmul.f32 s10, s8, s0\n\t" \
    "vmul.f32 s11, s8, s1\n\t" \
    "vmul.f32 s12, s8, s2\n\t" \
    "vmul.f32 s13, s8, s3\n\t" \
    "vadd.f32 " a ", " a ", s10\n\t" \
    "vadd.f32 " b ", " b ", s11\n\t" \
    "vadd.f32 " c ", " c ", s12\n\t" \
    "vadd.f32 " d ", " d ", s13\n\t" \
    "vmul.f32 s10, s9, s4\n\t" \
    "vmul.f32 s11, s9, s5\n\t" \
    "vmul.f32 s12, s9, s6\n\t" \
    "vmul.f32 s13, s9, s7\n\t" \
    "vadd.f32 " a ", " a ", s10\n\t" \
    "vadd.f32 " b ", " b ", s11\n\t" \
    "vadd.f32 " c ", " c ", s12\n\t" \
    "vadd.f32 " d ", " d ", s13\n\t"

#define SIXTEEN_SUMS_OF_TURNS(start) \
    __asm__ volatile(start "1:\n\t" \
                           "vldmia %[x]!, {s0-s7}\n\t" \
                           SIXTEEN_SUMS_ROW("map0", "s16", "s17", "s18", "s19") \
                           SIXTEEN_SUMS_ROW("map1", "s20", "s21", "s22", "s23") \
                           SIXTEEN_SUMS_ROW("map2", "s24", "s25", "s26", "s27") \
                           SIXTEEN_SUMS_ROW("map3", "s28", "s29", "s30", "s31") \
                           "cmp %[x], %[end]\n\t" \
                           "bne 1b\n\t" \
                           "vstmia %[sums], {s16-s31}" \
                     : [x] "+&r"(x), [map0] "+&r"(map0), [map1] "+&r"(map1), [map2] "+&r"(map2), \
                       [map3] "+&r"(map3) \
                     : [end] "r"(end), [sums] "r"(sums), [zero] "r"(0) \
                     : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", \
                       "s10", "s11", "s12", "s13", "s16", "s17", "s18", "s19", "s20", "s21", "s22", \
                       "s23", "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31")

#endif

static inline __attribute__((always_inline)) void
add_position(int32_t p, const float *const *maps, const float *x, float *sums)
{
    for (int32_t i = 0; i < 4; i++) {
        for (int32_t c = 0; c < 4; c++) {
            sums[4 * i + c] += maps[i][p] * x[4 * p + c];
        }
    }
}

/* `fresh`: from 0, else on from what the sums are. n is not 0. */
static inline __attribute__((always_inline)) void
sixteen_sums_f32(int32_t n, const float *const *maps, const float *x, int fresh, float *sums)
{
    int32_t done = 0;

#if QUANTIZE_FPU
    const float *map0 = maps[0], *map1 = maps[1], *map2 = maps[2], *map3 = maps[3];
    const float *first = x, *end = x + n / 2 * 8;

    if (n > 1 && fresh) {
        SIXTEEN_SUMS_OF_TURNS("vmov d8, %[zero], %[zero]\n\t"
                              "vmov d9, %[zero], %[zero]\n\t"
                              "vmov d10, %[zero], %[zero]\n\t"
                              "vmov d11, %[zero], %[zero]\n\t"
                              "vmov d12, %[zero], %[zero]\n\t"
                              "vmov d13, %[zero], %[zero]\n\t"
                              "vmov d14, %[zero], %[zero]\n\t"
                              "vmov d15, %[zero], %[zero]\n");
    } else if (n > 1) {
        SIXTEEN_SUMS_OF_TURNS("vldmia %[sums], {s16-s31}\n");
    }
    x = first;
    done = n / 2 * 2;
#endif
    for (int32_t i = 0; i < 16 && fresh && done == 0; i++) {
        sums[i] = 0.0f;
    }
    for (; done < n; done++) {
        add_position(done, maps, x, sums);
    }
}

#endif
