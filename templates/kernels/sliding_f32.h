/* Windows that slide over float32 maps: what a convolution and the gradient of its input are.
 *
 *   written[m, p] = b[m] + sum over c, k of w[m, c, k] * read[c, p * stride + start + k * step]
 *
 * for the taps k that are on the map, summed in the order b, c, kernel row, kernel column. Padding is
 * never stored. Windows that have all taps of a kernel row go side by side; at the borders the taps
 * that are on the map are a range.
 */
#ifndef TINYODL_SLIDING_F32_H
#define TINYODL_SLIDING_F32_H

#include <stddef.h>
#include <stdint.h>

#include "conv_shape.h"
#include "tile_f32.h"

/* Along one axis: tap k of window p is on element p * stride + start + k * step. A pitch is the
 * distance of neighbours: of elements in the input, windows in the output, taps in the weight. */
typedef struct {
    int32_t windows, stride, start;
    int32_t taps, step;
    int32_t elements;
    int32_t element_pitch, window_pitch, tap_pitch;
} sliding;

/* `filters` maps are made of `channels` maps. */
typedef struct {
    int32_t filters, written_map, filter_pitch;
    int32_t channels, read_map, channel_pitch;
} mixing;

/* The taps of window p that are on the map. */
TILE_INLINE range taps_of_window(const sliding *axis, int32_t p)
{
    const int32_t at = p * axis->stride + axis->start;

    return axis->step > 0
               ? taps_on_map(at, axis->step, axis->taps, axis->elements)
               : taps_on_map(axis->elements - 1 - at, -axis->step, axis->taps, axis->elements);
}

/* Of `count` windows from p on, those whose tap k is on the map, counted from p. */
TILE_INLINE range windows_of_tap(const sliding *axis, int32_t p, int32_t count, int32_t k)
{
    const int32_t at = p * axis->stride + axis->start + k * axis->step;

    return outputs_on_map(at, axis->stride, count, axis->elements);
}

/* The windows that have all taps on the map. */
TILE_INLINE range inner_windows(const sliding *axis)
{
    const range a = windows_of_tap(axis, 0, axis->windows, 0);
    const range b = windows_of_tap(axis, 0, axis->windows, axis->taps - 1);

    return (range){a.first > b.first ? a.first : b.first, a.end < b.end ? a.end : b.end};
}

/// Several filters or channels: tiles of filters and windows ///

enum { WRITTEN_OUT_TAPS = 3 }; /* of a kernel row: more would be too much code */

/* Adds tap k of a channel's kernel row. */
TILE_INLINE void slide_tap(const mixing *mix, const sliding *along, int32_t filters,
                           int32_t windows, int32_t k, tile_f32 *sums, const float *read_row,
                           const float *w_row)
{
    float weights[TILE_ROWS], elements[TILE_LANES];

    if (k < along->taps) {
        lanes_load(filters, weights, w_row + k * along->tap_pitch, mix->filter_pitch);
        lanes_load(windows, elements, read_row + k * along->step * along->element_pitch,
                   along->stride * along->element_pitch);
        tile_add(filters, windows, sums, weights, elements);
    }
}

/* Windows side by side from (row, column) on, which have the same taps. w, b and `written` are those
 * of the first of the filters. */
TILE_INLINE void slide_tile(const mixing *mix, const sliding *down, const sliding *along,
                            int32_t filters, int32_t windows, int32_t row, int32_t column,
                            range rows, range columns, const float *read, const float *w,
                            const float *b, float *written)
{
    const float *from = read + (row * down->stride + down->start) * down->element_pitch +
                        (column * along->stride + along->start) * along->element_pitch;
    tile_f32 sums;

    tile_start(filters, windows, &sums, b, 1, 0);
    for (int32_t c = 0; c < mix->channels; c++) {
        for (int32_t kh = rows.first; kh < rows.end; kh++) {
            const float *read_row = from + c * mix->read_map + kh * down->step * down->element_pitch;
            const float *w_row = w + c * mix->channel_pitch + kh * down->tap_pitch;

            if (windows > 1 && along->taps <= WRITTEN_OUT_TAPS) {
                slide_tap(mix, along, filters, windows, 0, &sums, read_row, w_row);
                if (along->taps > 1) tile_rest();
                slide_tap(mix, along, filters, windows, 1, &sums, read_row, w_row);
                if (along->taps > 2) tile_rest();
                slide_tap(mix, along, filters, windows, 2, &sums, read_row, w_row);
            } else {
                for (int32_t kw = columns.first; kw < columns.end; kw++) {
                    slide_tap(mix, along, filters, windows, kw, &sums, read_row, w_row);
                }
            }
        }
    }
    tile_store(filters, windows, &sums,
               written + row * down->window_pitch + column * along->window_pitch,
               mix->written_map, along->window_pitch);
}

/* All filters at all windows. `wide` windows are side by side where they have all taps. */
TILE_INLINE void slide(const mixing *mix, const sliding *down, const sliding *along, int32_t wide,
                       const float *read, const float *w, const float *b, float *written)
{
    const int32_t filters = lanes_of(mix->filters, TILE_ROWS);
    range inner = inner_windows(along);
    if (inner.end - inner.first < wide) {
        inner = (range){0, 0};
    }
    const int32_t inside = inner.end - inner.first;
    read = any_array(read);

    for (int32_t m = 0; m < mix->filters; m += filters) {
        const int32_t filter = turn_start(m, filters, mix->filters);
        const float *w_filter = any_array(w + filter * mix->filter_pitch);
        const float *b_filter = b ? b + filter : NULL;
        float *map = written + filter * mix->written_map;

        for (int32_t row = 0; row < down->windows; row++) {
            const range rows = taps_of_window(down, row);

            for (int32_t i = 0; i < along->windows - inside; i++) {
                const int32_t column = i < inner.first ? i : i + inside;
                slide_tile(mix, down, along, filters, 1, row, column, rows,
                           taps_of_window(along, column), read, w_filter, b_filter, map);
            }
            for (int32_t i = 0; i < inside; i += wide) {
                const int32_t column = inner.first + turn_start(i, wide, inside);
                slide_tile(mix, down, along, filters, wide, row, column, rows,
                           (range){0, along->taps}, read, w_filter, b_filter, map);
            }
        }
    }
}

/// One filter of one channel: strips of windows, with the taps of a kernel row written out ///

/* Windows from `column` on; `inside`: they have all taps. */
TILE_INLINE void strip_tap(const sliding *along, int32_t windows, int32_t column, int inside,
                           int32_t k, float *sums, const float *read_row, const float *w_row)
{
    float elements[TILE_LANES];

    if (k < along->taps) {
        const range on = inside ? (range){0, windows} : windows_of_tap(along, column, windows, k);
        const int32_t count = on.end - on.first;

        lanes_load(count, elements, read_row + on.first * along->stride + k * along->step,
                   along->stride);
        lanes_add(count, sums + on.first, w_row[k * along->tap_pitch], elements);
    }
}

TILE_INLINE void strip(const sliding *down, const sliding *along, int32_t windows, int32_t column,
                       int inside, const float *read, const float *w, const float *b,
                       float *written)
{
    for (int32_t row = 0; row < down->windows; row++) {
        const range rows = taps_of_window(down, row);
        const float *from = read + (row * down->stride + down->start) * down->element_pitch +
                            column * along->stride + along->start;
        float sums[TILE_LANES];

        lanes_start(windows, sums, b, 0);
        for (int32_t kh = rows.first; kh < rows.end; kh++) {
            const float *read_row = from + kh * down->step * down->element_pitch;
            const float *w_row = w + kh * down->tap_pitch;

            strip_tap(along, windows, column, inside, 0, sums, read_row, w_row);
            strip_tap(along, windows, column, inside, 1, sums, read_row, w_row);
            strip_tap(along, windows, column, inside, 2, sums, read_row, w_row);
            strip_tap(along, windows, column, inside, 3, sums, read_row, w_row);
            strip_tap(along, windows, column, inside, 4, sums, read_row, w_row);
            strip_tap(along, windows, column, inside, 5, sums, read_row, w_row);
            strip_tap(along, windows, column, inside, 6, sums, read_row, w_row);
        }
        lanes_store(windows, sums, written + row * down->window_pitch + column, 1);
    }
}

/* How many windows make a strip; 0 where `strips` cannot do it. Only the first and the last strip
 * may miss taps. */
TILE_INLINE int32_t strip_windows(const mixing *mix, const sliding *along)
{
    const int32_t wide = lanes_of(along->windows, TILE_LANES);
    const range inner = inner_windows(along);

    return mix->filters == 1 && mix->channels == 1 && along->taps <= STRIP_TAPS &&
                   along->element_pitch == 1 && along->window_pitch == 1 &&
                   inner.first <= wide && inner.end >= along->windows - wide
               ? wide
               : 0;
}

TILE_INLINE void strips(const sliding *down, const sliding *along, int32_t wide, const float *read,
                        const float *w, const float *b, float *written)
{
    const int32_t last = along->windows - wide;

    strip(down, along, wide, 0, 0, read, w, b, written);
    for (int32_t column = wide; column < last; column += wide) {
        strip(down, along, wide, turn_start(column, wide, last), 1, read, w, b, written);
    }
    if (last > 0) {
        strip(down, along, wide, last, 0, read, w, b, written);
    }
}

#endif
