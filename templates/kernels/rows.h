/* Where the rows of a map lie in a buffer that holds `rows` of its `height` rows: all, or a ring. */
#ifndef TINYODL_ROWS_H
#define TINYODL_ROWS_H

#include <stdint.h>

static inline __attribute__((always_inline)) int32_t held_row(int32_t row, int32_t rows,
                                                              int32_t height)
{
    return rows == height ? row : row % rows;
}

#endif
