/* Sums of products of int8 weights and widened inputs.
 *
 * Inputs are int16 with their zero point taken off, in columns: for four weights k0 k1 k2 k3 the
 * inputs that they meet lie in the order k0 k2 k1 k3, because SXTB16 widens bytes 0 and 2 of a word
 * of weights, and SXTB16 with ROR #8 bytes 1 and 3. Then each SMLAD makes two products, and weights
 * stay in the order of the file. A column of k inputs is filled up to a multiple of four; what it is
 * filled with may be anything.
 *
 * Two columns that belong together have their fours side by side: eight int16 for each four weights.
 *
 * Where the processor has no such instructions the same is done in plain C: int32 sums do not depend
 * on their order.
 */
#ifndef TINYODL_DOT_I8_H
#define TINYODL_DOT_I8_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
#define DOT_DSP 1
#else
#define DOT_DSP 0
#endif

/* Two neighbours in a column as a word. */
typedef uint32_t __attribute__((may_alias)) int16_pair;

/* Where input k of a column lies, of `columns` columns side by side. */
static inline __attribute__((always_inline)) int32_t place_in_column(int32_t k, int32_t columns)
{
    return (k >> 2) * 4 * columns + ((k & 1) << 1) + ((k >> 1) & 1);
}

static inline __attribute__((always_inline)) int32_t whole_fours(int32_t k)
{
    return (k + 3) & ~3;
}

static inline __attribute__((always_inline)) uint32_t load_word(const void *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

static inline __attribute__((always_inline)) void store_word(void *to, uint32_t word)
{
    memcpy(to, &word, sizeof word);
}

static inline __attribute__((always_inline)) int32_t low_half(uint32_t pair)
{
    return (int16_t)pair;
}

static inline __attribute__((always_inline)) int32_t high_half(uint32_t pair)
{
    return (int16_t)(pair >> 16);
}

static inline __attribute__((always_inline)) uint32_t pair_of(int32_t low, int32_t high)
{
    return (uint32_t)low << 16 >> 16 | (uint32_t)high << 16;
}

/* sum + a.low * b.low + a.high * b.high */
static inline __attribute__((always_inline)) int32_t smlad(uint32_t a, uint32_t b, int32_t sum)
{
#if DOT_DSP
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
#else
    return sum + low_half(a) * low_half(b) + high_half(a) * high_half(b);
#endif
}

/* sum + a.low * b.high */
static inline __attribute__((always_inline)) int32_t smlabt(uint32_t a, uint32_t b, int32_t sum)
{
#if DOT_DSP
    __asm__("smlabt %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
#else
    return sum + low_half(a) * high_half(b);
#endif
}

/* Bytes 0 and 2 of a word, widened. */
static inline __attribute__((always_inline)) uint32_t even_bytes(uint32_t word)
{
#if DOT_DSP
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
#else
    return pair_of((int8_t)word, (int8_t)(word >> 16));
#endif
}

/* Bytes 1 and 3, widened. */
static inline __attribute__((always_inline)) uint32_t odd_bytes(uint32_t word)
{
#if DOT_DSP
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
#else
    return even_bytes(word >> 8);
#endif
}

/* The same, each added to a half of `pair`. */
static inline __attribute__((always_inline)) uint32_t plus_even_bytes(uint32_t pair, uint32_t word)
{
#if DOT_DSP
    uint32_t sums;
    __asm__("sxtab16 %0, %1, %2" : "=r"(sums) : "r"(pair), "r"(word));
    return sums;
#else
    return pair_of(low_half(pair) + (int8_t)word, high_half(pair) + (int8_t)(word >> 16));
#endif
}

static inline __attribute__((always_inline)) uint32_t plus_odd_bytes(uint32_t pair, uint32_t word)
{
#if DOT_DSP
    uint32_t sums;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(sums) : "r"(pair), "r"(word));
    return sums;
#else
    return plus_even_bytes(pair, word >> 8);
#endif
}

/* (a.low, b.low) and (a.high, b.high) */
static inline __attribute__((always_inline)) uint32_t low_halves(uint32_t a, uint32_t b)
{
#if DOT_DSP
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
#else
    return a << 16 >> 16 | b << 16;
#endif
}

static inline __attribute__((always_inline)) uint32_t high_halves(uint32_t a, uint32_t b)
{
#if DOT_DSP
    uint32_t pair;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(pair) : "r"(b), "r"(a));
    return pair;
#else
    return a >> 16 | b >> 16 << 16;
#endif
}

/* What is added to each of a pair of inputs to take their zero point off. */
static inline __attribute__((always_inline)) uint32_t minus_zero_point(int32_t zero_point)
{
    return ((uint32_t)-zero_point & 0xffffu) * 0x10001u;
}

/* The last k & 3 of a filter's k weights as a word, filled up with zeros; `w` is the first of them. */
static inline __attribute__((always_inline)) uint32_t last_weights(const int8_t *w, int32_t k)
{
    const int32_t last = k & 3;
    if (k >= 4) {
        return load_word(w + last - 4) >> (8 * (4 - last));
    }
    uint32_t word = (uint8_t)w[0];
    if (last > 1) {
        word |= (uint32_t)(uint8_t)w[1] << 8;
    }
    if (last > 2) {
        word |= (uint32_t)(uint8_t)w[2] << 16;
    }
    return word;
}

/* sum + the products of four weights and a column's four. */
static inline __attribute__((always_inline)) int32_t dot_of_four(uint32_t weights,
                                                                 const int16_t *four, int32_t sum)
{
    const int16_pair *pairs = (const int16_pair *)(const void *)four;
    sum = smlad(even_bytes(weights), pairs[0], sum);
    return smlad(odd_bytes(weights), pairs[1], sum);
}

#if DOT_DSP
/* Four weights of each of two filters, from r1 and r2, with two columns, from r0: 15 instructions for
 * 16 products, added to r8 and r9 for the first filter, r10 and r11 for the second. */
#define DOT_FOUR(sum0, sum1)                                                                       \
    "sxtb16 lr, r12\n\t"                                                                           \
    "sxtb16 r12, r12, ror #8\n\t"                                                                  \
    "smlad  " sum0 ", lr, r4, " sum0 "\n\t"                                                        \
    "smlad  " sum1 ", lr, r6, " sum1 "\n\t"                                                        \
    "smlad  " sum0 ", r12, r5, " sum0 "\n\t"                                                       \
    "smlad  " sum1 ", r12, r7, " sum1 "\n\t"

#define DOT_2X2_FOURS                                                                              \
    "ldm    r0!, {r4, r5, r6, r7}\n\t"                                                             \
    "ldr    r12, [r1], #4\n\t" DOT_FOUR("r8", "r9")                                                \
    "ldr    r12, [r2], #4\n\t" DOT_FOUR("r10", "r11")

/* That, until the columns end at r3. In r12 is the number of fours modulo 4; there is at least one. */
#define DOT_2X2                                                                                    \
    "tbb    [pc, r12]\n"                                                                           \
    "10:\n\t"                                                                                      \
    ".byte  (11f - 10b) / 2, (14f - 10b) / 2, (13f - 10b) / 2, (12f - 10b) / 2\n"                  \
    "11:\n\t" DOT_2X2_FOURS "12:\n\t" DOT_2X2_FOURS "13:\n\t" DOT_2X2_FOURS                       \
    "14:\n\t" DOT_2X2_FOURS                                                                        \
    "cmp    r0, r3\n\t"                                                                            \
    "bne    11b\n\t"

#endif

/* sums[f * 2 + p] += the products of filter f, of k weights at w0 or w1, and column p of two. Returns
 * the end of the columns. */
static __attribute__((noinline, unused)) const int16_t *
dot_2x2(const int8_t *w0, const int8_t *w1, const int16_t *columns, int32_t k, int32_t *sums)
{
    const int16_t *end = columns + (k & ~3) * 2;

#if DOT_DSP
    if (columns < end) {
        const struct {
            const int8_t *w0, *w1;
            const int16_t *columns, *end;
            uint32_t fours;
            int32_t *sums;
        } of = {w0, w1, columns, end, (uint32_t)k / 4 & 3, sums};
        register const void *given __asm__("r0") = &of;

        __asm__ volatile("ldr    r12, [r0, #20]\n\t"
                         "push   {r12}\n\t"
                         "ldm    r12, {r8, r9, r10, r11}\n\t"
                         "ldr    r12, [r0, #16]\n\t"
                         "ldrd   r1, r2, [r0]\n\t"
                         "ldrd   r0, r3, [r0, #8]\n\t" DOT_2X2 "pop    {r12}\n\t"
                         "stm    r12, {r8, r9, r10, r11}"
                         : "+r"(given)
                         :
                         : "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11",
                           "r12", "lr", "cc", "memory");
        w0 += k & ~3;
        w1 += k & ~3;
    }
#else
    for (; columns < end; columns += 8, w0 += 4, w1 += 4) {
        sums[0] += w0[0] * columns[0] + w0[2] * columns[1] + w0[1] * columns[2] + w0[3] * columns[3];
        sums[1] += w0[0] * columns[4] + w0[2] * columns[5] + w0[1] * columns[6] + w0[3] * columns[7];
        sums[2] += w1[0] * columns[0] + w1[2] * columns[1] + w1[1] * columns[2] + w1[3] * columns[3];
        sums[3] += w1[0] * columns[4] + w1[2] * columns[5] + w1[1] * columns[6] + w1[3] * columns[7];
    }
#endif
    if (k & 3) {
        const uint32_t last0 = last_weights(w0, k), last1 = last_weights(w1, k);
        sums[0] = dot_of_four(last0, end, sums[0]);
        sums[1] = dot_of_four(last0, end + 4, sums[1]);
        sums[2] = dot_of_four(last1, end, sums[2]);
        sums[3] = dot_of_four(last1, end + 4, sums[3]);
        end += 8;
    }
    return end;
}

#if DOT_DSP
/* Eight weights of a filter and a column's eight in r4 to r7: 11 instructions for 8 products. */
#define DOT_EIGHT(load, w, sum)                                                                    \
    load(w) "sxtb16 lr, r11\n\t"                                                                   \
            "sxtb16 r11, r11, ror #8\n\t"                                                          \
            "smlad  " sum ", lr, r4, " sum "\n\t"                                                  \
            "sxtb16 lr, r12\n\t"                                                                   \
            "smlad  " sum ", r11, r5, " sum "\n\t"                                                 \
            "sxtb16 r12, r12, ror #8\n\t"                                                          \
            "smlad  " sum ", lr, r6, " sum "\n\t"                                                  \
            "smlad  " sum ", r12, r7, " sum "\n\t"

#define ALIGNED_EIGHT(w) "ldrd   r11, r12, [" w "], #8\n\t"
#define ANY_EIGHT(w)                                                                               \
    "ldr    r12, [" w ", #4]\n\t"                                                                  \
    "ldr    r11, [" w "], #8\n\t"

#define DOT_3X1_EIGHTS(load)                                                                       \
    "ldm    r0!, {r4, r5, r6, r7}\n\t" DOT_EIGHT(load, "r1", "r8") DOT_EIGHT(load, "r2", "r9")     \
        DOT_EIGHT(load, "r3", "r10")

/* Filters in threes. `eights` is the number of eights in the column, modulo 4. */
typedef struct {
    const int8_t *w;
    const int16_t *end, *column;
    uint32_t k, eights;
    int32_t *sums;
    int32_t threes;
} dots_in_threes;

/* In s0 is the end of the column, in s1 its beginning, in s2 k, in s3 eights, in s4 sums, in s5 threes. */
#define DOTS_IN_THREES(load)                                                                       \
    __asm__ volatile("ldr    r3, [r0], #4\n\t"                                                     \
                     "vldm   r0, {s0-s5}\n"                                                        \
                     "1:\n\t"                                                                      \
                     "vmov   r0, s4\n\t"                                                           \
                     "vmov   r4, r12, s2, s3\n\t"                                                  \
                     "ldm    r0, {r8, r9, r10}\n\t"                                                \
                     "mov    r1, r3\n\t"                                                           \
                     "add    r2, r1, r4\n\t"                                                       \
                     "add    r3, r2, r4\n\t"                                                       \
                     "vmov   r0, s1\n\t"                                                           \
                     "tbb    [pc, r12]\n"                                                          \
                     "10:\n\t"                                                                     \
                     ".byte  (11f - 10b) / 2, (14f - 10b) / 2, (13f - 10b) / 2, (12f - 10b) / 2\n" \
                     "11:\n\t" DOT_3X1_EIGHTS(load) "12:\n\t" DOT_3X1_EIGHTS(load)                 \
                     "13:\n\t" DOT_3X1_EIGHTS(load) "14:\n\t" DOT_3X1_EIGHTS(load)                 \
                     "vmov   lr, s0\n\t"                                                           \
                     "cmp    r0, lr\n\t"                                                           \
                     "bne    11b\n\t"                                                              \
                     "vmov   r0, s4\n\t"                                                           \
                     "vmov   r4, s2\n\t"                                                           \
                     "vmov   r5, s5\n\t"                                                           \
                     "stm    r0!, {r8, r9, r10}\n\t"                                               \
                     "and    r4, r4, #7\n\t"                                                       \
                     "add    r3, r3, r4\n\t" /* the next filter */                                \
                     "subs   r5, r5, #1\n\t"                                                       \
                     "vmov   s4, r0\n\t"                                                           \
                     "vmov   s5, r5\n\t"                                                           \
                     "bne    1b"                                                                   \
                     : "+r"(given)                                                                 \
                     :                                                                             \
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12",  \
                       "lr", "s0", "s1", "s2", "s3", "s4", "s5", "cc", "memory")

/* sums[f] += the products of filter f, of k >= 8 weights, and a column, but for the last k & 7. */
static __attribute__((noinline, unused)) void dot_threes(const int8_t *w, int32_t threes,
                                                         const int16_t *column, int32_t k,
                                                         int32_t *sums)
{
    const dots_in_threes of = {w,           column + (k & ~7), column, (uint32_t)k,
                               (uint32_t)k / 8 & 3, sums,        threes};
    register const void *given __asm__("r0") = &of;

    if ((((uintptr_t)w | (uint32_t)k) & 3) == 0) {
        DOTS_IN_THREES(ALIGNED_EIGHT);
    } else {
        DOTS_IN_THREES(ANY_EIGHT);
    }
}
#endif

/* sums[f] += the products of filter f, of k weights, and a column. */
static __attribute__((noinline, unused)) void dots_of_filters(const int8_t *w, int32_t filters,
                                                              const int16_t *column, int32_t k,
                                                              int32_t *sums)
{
    int32_t done = 0; /* products of each filter */

#if DOT_DSP
    if (filters >= 3 && k >= 8) {
        const int32_t left = filters % 3;
        done = k & ~7;
        dot_threes(w, filters / 3, column, k, sums);
        if (left) { /* with those before them, once more */
            int32_t last[3] = {0, 0, 0};
            dot_threes(w + (filters - 3) * k, 1, column, k, last);
            for (int32_t f = 3 - left; f < 3; f++) {
                sums[filters - 3 + f] += last[f];
            }
        }
    }
#endif
    for (int32_t f = 0; f < filters && done < k; f++, w += k) {
        for (int32_t i = done; i < k; i++) {
            sums[f] += w[i] * column[place_in_column(i, 1)];
        }
    }
}

#endif
