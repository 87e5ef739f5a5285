/* The four memory functions that compilers call on their own, under their C and their Arm names
 * (Run-time ABI for the Arm Architecture, section 4.3.4). The empty asm statements keep compilers
 * from recognising the loops and calling these very functions. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#undef memcpy
#undef memset

#define NOT_AN_IDIOM() __asm__ volatile("" ::: "memory")

static int word_aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & 3u) == 0;
}

/* These functions copy memory of any type, so their words may alias anything. */
typedef uint32_t __attribute__((may_alias)) word;

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if (word_aligned(d, s)) {
        for (; count >= 16; count -= 16, d += 16, s += 16) {
            word a = ((const word *)(const void *)s)[0];
            word b = ((const word *)(const void *)s)[1];
            word c = ((const word *)(const void *)s)[2];
            word e = ((const word *)(const void *)s)[3];
            ((word *)(void *)d)[0] = a;
            ((word *)(void *)d)[1] = b;
            ((word *)(void *)d)[2] = c;
            ((word *)(void *)d)[3] = e;
            NOT_AN_IDIOM();
        }
        for (; count >= 4; count -= 4, d += 4, s += 4) {
            *(word *)(void *)d = *(const word *)(const void *)s;
            NOT_AN_IDIOM();
        }
    }
    for (; count > 0; count--) {
        *d++ = *s++;
        NOT_AN_IDIOM();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((uintptr_t)d - (uintptr_t)s >= count) { /* to is below from, or beyond its end */
        for (; count > 0; count--) {
            *d++ = *s++;
            NOT_AN_IDIOM();
        }
    } else {
        for (; count > 0; count--) {
            d[count - 1] = s[count - 1];
            NOT_AN_IDIOM();
        }
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    uint8_t *d = to;
    if (word_aligned(d, d)) {
        word pattern = (uint8_t)value * 0x01010101u;
        for (; count >= 4; count -= 4, d += 4) {
            *(word *)(void *)d = pattern;
            NOT_AN_IDIOM();
        }
    }
    for (; count > 0; count--) {
        *d++ = (uint8_t)value;
        NOT_AN_IDIOM();
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
    const uint8_t *x = a, *y = b;
    for (; count > 0; count--, x++, y++) {
        if (*x != *y) {
            return *x - *y;
        }
        NOT_AN_IDIOM();
    }
    return 0;
}

/// Arm run-time ABI names: variants for aligned arguments, and memset with the value last ///

#define ALL_ALIGNMENTS(name, parameters, call)                                                     \
    void name parameters { call; }                                                                 \
    void name##4 parameters { call; }                                                              \
    void name##8 parameters { call; }

ALL_ALIGNMENTS(__aeabi_memcpy, (void *to, const void *from, size_t n), memcpy(to, from, n))
ALL_ALIGNMENTS(__aeabi_memmove, (void *to, const void *from, size_t n), memmove(to, from, n))
ALL_ALIGNMENTS(__aeabi_memset, (void *to, size_t n, int value), memset(to, value, n))
ALL_ALIGNMENTS(__aeabi_memclr, (void *to, size_t n), memset(to, 0, n))
