/* Where the weights of output channels lie of which only some learn: those in w, in RAM, the others in
 * `rest`. Channel m is row place[m] of w, and where w has no more rows, of rest.
 */
#ifndef TINYODL_CHANNEL_ROWS_H
#define TINYODL_CHANNEL_ROWS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const float *w, *rest;
    const uint16_t *place;
    int32_t learning, pitch; /* rows of w; elements of a row */
} channel_rows;

static inline const float *channel_row(const channel_rows *of, int32_t m)
{
    const int32_t at = of->place[m];

    return at < of->learning ? of->w + at * of->pitch : of->rest + (at - of->learning) * of->pitch;
}

/* Elements from `first` on, `count` of each of `channels` rows from m on, side by side. */
static inline void gather_rows(const channel_rows *of, int32_t m, int32_t channels, int32_t first,
                               int32_t count, float *to)
{
    for (int32_t i = 0; i < channels; i++) {
        const float *row = channel_row(of, m + i) + first;
        for (int32_t j = 0; j < count; j++) {
            to[i * count + j] = row[j];
        }
    }
}

#endif
