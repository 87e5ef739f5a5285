/* Rows of maps (channels, height, width) in buffers that hold `rows` rows of each channel: all of
 * them, or fewer as a ring, in which a row takes the place of the one `rows` before it. */
#ifndef TINYODL_ROWS_H
#define TINYODL_ROWS_H

#include <stdint.h>

typedef struct {
    int32_t channels, height, width;
} map_shape;

/* The index of a row among those that are held. */
static inline __attribute__((always_inline)) int32_t held_row(int32_t row, int32_t rows,
                                                              int32_t height)
{
    return rows == height ? row : row % rows;
}

/* Where a row of a channel begins in the buffer. */
static inline __attribute__((always_inline)) int32_t row_start(const map_shape *s, int32_t rows,
                                                               int32_t channel, int32_t row)
{
    return (channel * rows + held_row(row, rows, s->height)) * s->width;
}

#endif
