/* The inputs of two outputs of a convolution, side by side in two columns (dot_i8.h).
 *
 * Inputs come in the order of the weights that they meet: channel, row, column of the window; with
 * in_order, channel in_order[i] is the i-th. Padding stands for the zero point, so in a column it is
 * zero.
 */
#ifndef TINYODL_QLINEAR_COLUMNS_I8_H
#define TINYODL_QLINEAR_COLUMNS_I8_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dot_i8.h"
#include "qlinear_conv_shape.h"
#include "rows.h"

/* What a run of channels is read with: channel order[c], or c, for c from `first` to end - 1. */
typedef struct {
    const uint16_t *order;
    int32_t first, end;
} channel_run;

/* A window's place: the map's row and column under its first tap, which may lie outside the map. */
typedef struct {
    int32_t top, left;
} window_place;

/// One pixel ///

/* Of channel `c` of those that are gathered. */
static inline __attribute__((always_inline)) const int8_t *
pixel_of(const int8_t *x, int32_t map, const uint16_t *order, int32_t c)
{
    return x + (order ? order[c] : c) * map;
}

/* Byte 0: the pixel `at`; byte 1: the one `step` behind it. */
static inline __attribute__((always_inline)) uint32_t two_pixels(const int8_t *at, int32_t step)
{
    if (step == 1) {
        uint16_t both;
        memcpy(&both, at, sizeof both);
        return both;
    }
    return (uint32_t)(uint8_t)at[0] | (uint32_t)(uint8_t)at[step] << 8;
}

static inline __attribute__((always_inline)) int16_t *
gather_pixels(const int8_t *x, int32_t map, int32_t step, const uint16_t *order, channel_run run,
              int32_t zero_point, int16_t *columns)
{
    int32_t c = run.first;

    const uint32_t minus_zero = minus_zero_point(zero_point);
    for (; c + 4 <= run.end; c += 4, columns += 8) {
        int16_pair *pairs = (int16_pair *)(void *)columns;
        const uint32_t both0 = two_pixels(pixel_of(x, map, order, c), step);
        const uint32_t both1 = two_pixels(pixel_of(x, map, order, c + 1), step);
        const uint32_t both2 = two_pixels(pixel_of(x, map, order, c + 2), step);
        const uint32_t both3 = two_pixels(pixel_of(x, map, order, c + 3), step);
        const uint32_t even = both0 | both2 << 16, odd = both1 | both3 << 16;
        pairs[0] = plus_even_bytes(minus_zero, even);
        pairs[1] = plus_even_bytes(minus_zero, odd);
        pairs[2] = plus_odd_bytes(minus_zero, even);
        pairs[3] = plus_odd_bytes(minus_zero, odd);
    }
    int32_t i = 0;
    for (; c < run.end; c++, i++) {
        const int8_t *at = pixel_of(x, map, order, c);
        const int32_t place = place_in_column(i, 2);
        columns[place] = (int16_t)(at[0] - zero_point);
        columns[place + 4] = (int16_t)(at[step] - zero_point);
    }
    return columns + 2 * whole_fours(i);
}

/* Whether each window is one pixel of the map. */
static inline bool windows_are_pixels(const qlinear_conv_shape *s)
{
    return s->kernel_height == 1 && s->kernel_width == 1 && !s->pad_top && !s->pad_left &&
           (s->out_height - 1) * s->stride_height < s->in_height &&
           (s->out_width - 1) * s->stride_width < s->in_width;
}

/* Columns of pixel x and of the one `step` behind it; channels are `map` apart. Returns their end. */
static __attribute__((noinline, unused)) int16_t *columns_of_pixels(const int8_t *x, int32_t map,
                                                                    int32_t step,
                                                                    const channel_run *run,
                                                                    int32_t zero_point,
                                                                    int16_t *columns)
{
    if (step == 1 && !run->order) {
        return gather_pixels(x, map, 1, NULL, *run, zero_point, columns);
    }
    return gather_pixels(x, map, step, run->order, *run, zero_point, columns);
}

/// Windows ///

/* The window in the order of the weights, as bytes; padding as the zero point. */
static __attribute__((noinline, unused)) void
window_of_bytes(const qlinear_conv_shape *s, const int8_t *x, int32_t x_rows, window_place at,
                const channel_run *run, int32_t zero_point, int8_t *window)
{
    const range columns =
        taps_on_map(at.left, s->dilation_width, s->kernel_width, s->in_width);
    const range rows = taps_on_map(at.top, s->dilation_height, s->kernel_height, s->in_height);

    memset(window, zero_point,
           (size_t)((run->end - run->first) * s->kernel_height * s->kernel_width));
    for (int32_t c = run->first; c < run->end; c++) {
        const int8_t *map = x + (run->order ? run->order[c] : c) * x_rows * s->in_width + at.left;
        for (int32_t kh = rows.first; kh < rows.end; kh++) {
            const int32_t row = held_row(at.top + kh * s->dilation_height, x_rows, s->in_height);
            const int8_t *from = map + row * s->in_width;
            int8_t *to = window + kh * s->kernel_width;
            for (int32_t kw = columns.first; kw < columns.end; kw++) {
                to[kw] = from[kw * s->dilation_width];
            }
        }
        window += s->kernel_height * s->kernel_width;
    }
}

/* How a word is read that holds a window's row: from `offset`, shifted, with padding filled in. */
typedef struct {
    int32_t offset;
    uint32_t up, down, padding;
} row_word;

/* Whether the window at column `left` has its rows in words, and how. */
static inline bool row_in_word(const qlinear_conv_shape *s, int32_t left, uint32_t zeros,
                               row_word *word)
{
    const int32_t before = left < 0 ? -left : 0;
    const int32_t behind = left + 4 > s->in_width ? left + 4 - s->in_width : 0;

    if (s->kernel_width > 4 || s->dilation_width > 1 || before + behind > 3 || s->in_width < 4) {
        return false;
    }
    word->offset = left + before - behind;
    word->up = 8 * (uint32_t)before;
    word->down = 8 * (uint32_t)behind;
    word->padding = 0;
    if (before) {
        word->padding = zeros >> (32 - word->up);
    }
    if (behind) {
        word->padding = zeros << (32 - word->down);
    }
    return true;
}

/* Both windows, which lie in the same rows. Each row of them is stored as a word, and the next one over
 * what is too much. */
static __attribute__((noinline, unused)) void
windows_of_words(const qlinear_conv_shape *s, const int8_t *x, int32_t x_rows, int32_t top,
                 row_word word0, row_word word1, const channel_run *run, uint32_t zeros, int8_t *window0,
                 int8_t *window1)
{
    const range rows = taps_on_map(top, s->dilation_height, s->kernel_height, s->in_height);
    const int32_t height = s->kernel_height, width = s->kernel_width;
    const int32_t above = rows.first < height ? rows.first : height;
    const int32_t below = rows.end > above ? rows.end : above;
    const int32_t map = x_rows * s->in_width, step = s->dilation_height * s->in_width;
    const int32_t first =
        above < below
            ? held_row(top + above * s->dilation_height, x_rows, s->in_height) * s->in_width
            : 0;

    for (int32_t c = run->first; c < run->end; c++) {
        const int8_t *channel = x + (run->order ? run->order[c] : c) * map;
        const int8_t *end = channel + map, *row = channel + first;
        for (int32_t kh = 0; kh < height; kh++, window0 += width, window1 += width) {
            uint32_t row0 = zeros, row1 = zeros;
            if (kh >= above && kh < below) {
                row0 = load_word(row + word0.offset) << word0.up >> word0.down | word0.padding;
                row1 = load_word(row + word1.offset) << word1.up >> word1.down | word1.padding;
                row += step;
                row = row < end ? row : row - map;
            }
            store_word(window0, row0);
            store_word(window1, row1);
        }
    }
}

/* The same for windows of 3x3 that lie on the map. `from` is the first tap of the first window, that of
 * the other one is `step` behind it, and those of their other rows `to_middle` and `to_last`. */
static __attribute__((noinline, unused)) void
windows_of_3x3(const int8_t *from, int32_t map, int32_t to_middle, int32_t to_last, int32_t step,
               int32_t channels, int8_t *window0, int8_t *window1)
{
    for (; channels > 0; channels--, from += map, window0 += 9, window1 += 9) {
        const int8_t *middle = from + to_middle, *last = from + to_last;
        store_word(window0, load_word(from));
        store_word(window1, load_word(from + step));
        store_word(window0 + 3, load_word(middle));
        store_word(window1 + 3, load_word(middle + step));
        store_word(window0 + 6, load_word(last));
        store_word(window1 + 6, load_word(last + step));
    }
}

/* Whether windows that are on the map from left to right can be had by `windows_of_3x3`. */
static inline bool windows_are_3x3(const qlinear_conv_shape *s, int32_t top, const channel_run *run)
{
    return s->kernel_height == 3 && s->kernel_width == 3 && !run->order && top >= 0 &&
           top + 3 <= s->in_height && s->dilation_height == 1 && s->dilation_width == 1;
}

/* The distance from a row of the ring to the one `rows` further on, which may be at its beginning. */
static inline int32_t to_row_behind(const qlinear_conv_shape *s, int32_t x_rows, int32_t row,
                                    int32_t rows)
{
    return (row + rows < x_rows ? rows : rows - x_rows) * s->in_width;
}

/* Columns of two windows as bytes. They may lie in the columns' own memory, at its end. */
static __attribute__((noinline, unused)) void widen_windows(const int8_t *window0,
                                                            const int8_t *window1, int32_t k,
                                                            int32_t zero_point, int16_t *columns)
{
    const uint32_t minus_zero = minus_zero_point(zero_point);
    int16_pair *pairs = (int16_pair *)(void *)columns;
    for (int32_t i = 0; i < k; i += 4, pairs += 4) {
        const uint32_t four0 = load_word(window0 + i), four1 = load_word(window1 + i);
        pairs[0] = plus_even_bytes(minus_zero, four0);
        pairs[1] = plus_odd_bytes(minus_zero, four0);
        pairs[2] = plus_even_bytes(minus_zero, four1);
        pairs[3] = plus_odd_bytes(minus_zero, four1);
    }
}

/* Columns of the windows of two outputs that lie in the same row of the map. Behind the columns, which
 * take 4 bytes for each of k inputs, there have to be k + 8 bytes; k is a multiple of 4. */
static __attribute__((noinline, unused)) int16_t *
columns_of_windows(const qlinear_conv_shape *s, const int8_t *x, int32_t x_rows, window_place at,
               int32_t step, const channel_run *run, int32_t zero_point, int16_t *columns)
{
    const int32_t k =
        whole_fours((run->end - run->first) * s->kernel_height * s->kernel_width);
    int8_t *window0 = (int8_t *)columns + 3 * k, *window1 = window0 + k + 4;

    const uint32_t zeros = (uint32_t)(uint8_t)zero_point * 0x01010101u;
    row_word word0, word1;

    if (at.left >= 0 && at.left + step + 4 <= s->in_width && windows_are_3x3(s, at.top, run)) {
        const int32_t row = held_row(at.top, x_rows, s->in_height);
        const int8_t *from = x + (run->first * x_rows + row) * s->in_width + at.left;
        windows_of_3x3(from, x_rows * s->in_width, to_row_behind(s, x_rows, row, 1),
                       to_row_behind(s, x_rows, row, 2), step, run->end - run->first, window0,
                       window1);
    } else if (row_in_word(s, at.left, zeros, &word0) && row_in_word(s, at.left + step, zeros, &word1)) {
        windows_of_words(s, x, x_rows, at.top, word0, word1, run, zeros, window0, window1);
    } else {
        window_of_bytes(s, x, x_rows, at, run, zero_point, window0);
        at.left += step;
        window_of_bytes(s, x, x_rows, at, run, zero_point, window1);
    }
    widen_windows(window0, window1, k, zero_point, columns);
    return columns + 2 * k;
}

/// All of a map ///

/* A column by itself: `taps` bytes of each channel. Returns its end. */
static __attribute__((noinline, unused)) int16_t *
column_of_channels(const int8_t *x, int32_t taps, const channel_run *run, int32_t zero_point,
                   int16_t *column)
{
    const uint32_t minus_zero = minus_zero_point(zero_point);
    const int32_t k = (run->end - run->first) * taps;
    int32_t i = 0;

    if (!run->order) {
        int16_pair *pairs = (int16_pair *)(void *)column;
        x += run->first * taps;
        for (; i + 4 <= k; i += 4, pairs += 2) {
            const uint32_t four = load_word(x + i);
            pairs[0] = plus_even_bytes(minus_zero, four);
            pairs[1] = plus_odd_bytes(minus_zero, four);
        }
        for (; i < k; i++) {
            column[place_in_column(i, 1)] = (int16_t)(x[i] - zero_point);
        }
    }
    for (; i < k; i++) {
        const int8_t *channel = x + run->order[run->first + i / taps] * taps;
        column[place_in_column(i, 1)] = (int16_t)(channel[i % taps] - zero_point);
    }
    return column + whole_fours(k);
}

#endif
