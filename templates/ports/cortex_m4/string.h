#ifndef STRING_H
#define STRING_H

/* There is no C library on the board: these four functions are all of <string.h>. */

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *a, const void *b, size_t count);

/* Compilers for machines without a C library do not know what these names mean, and would call a
 * function to copy four bytes. */
#define memcpy(to, from, count) __builtin_memcpy(to, from, count)
#define memset(to, value, count) __builtin_memset(to, value, count)

#endif
