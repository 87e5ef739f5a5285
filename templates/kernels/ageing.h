/* Memories whose samples age: new samples of a class take the places of its oldest.
 *
 * Of every AGEING_EACH samples of a class one is kept, on average, and replaces the oldest. So a class
 * with n places remembers about its last n AGEING_EACH samples. A class without new samples loses none.
 */
#ifndef TINYODL_AGEING_H
#define TINYODL_AGEING_H

#include <stdint.h>

enum { AGEING_EACH = 2 };

/* The place among n of a class for the sample that comes, the `seen`-th of its class; or -1. Until
 * n AGEING_EACH came it is kept with the chance n / seen, as by reservoir sampling. `draw`: from 0 to
 * the result of ageing_chance - 1. */
static inline uint32_t ageing_chance(uint32_t n, uint32_t seen)
{
    return seen < n * AGEING_EACH ? seen : n * AGEING_EACH;
}

static inline int32_t ageing_place(uint32_t n, uint32_t seen, uint32_t draw)
{
    return draw < n ? (int32_t)(seen / AGEING_EACH % n) : -1;
}

#endif
