/* The gradient of an int8 convolution's input, batch 1, with respect to real values.
 *
 * gy     (out_channels, out_height, out_width)
 * w      int8 filters, and rest, see qlinear_conv_shape.h
 * scale  (out_channels): the real value of one integer step of each channel's filter
 * gx     (in_channels, in_height, in_width)
 * onto   NULL, or another gradient of this input, to which gx is added; gx may be onto itself
 *
 *   gx[c, p * stride + k * dilation - pad] = sum over m, k of scale[m] * w[m, c, k] * gy[m, p]
 *
 * Each element is summed in the order filter (those of w, then those of rest), kernel row, kernel
 * column, from 0 or from onto. A weight becomes float32 and is scaled before it is multiplied.
 *
 * If memory has only a few channels of a map at a time, the gradient is made in parts, with the same
 * bits. Many sums run in registers at once; the loops over them are unrolled.
 */
#ifndef TINYODL_QLINEAR_CONV_INPUT_GRADIENT_I8_H
#define TINYODL_QLINEAR_CONV_INPUT_GRADIENT_I8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "in_register.h"
#include "qlinear_conv_shape.h"
#include "quantize.h"

/// Pointwise, one group: maps are mixed as they are ///

/* Maps gy of n filters, which are mixed to maps gx. Row i of their weights, one for each gx, is in w
 * or, from `cut` on, in rest; rows are `length` apart. Filter i has scale[channel[i]] and map
 * gy[place[i]], column c has map gx[order[c]]; what is NULL is 0, 1, 2, ... `fresh`: sums begin at 0,
 * not at gx. */
typedef struct {
    const int8_t *w, *rest;
    int32_t n, cut, length, map, fresh;
    const float *scale, *gy;
    float *gx;
    const uint16_t *channel, *place, *order;
} mixture;

typedef struct {
    const int8_t *w;
    float scale;
    const float *gy;
} mixed_filter;

static inline __attribute__((always_inline)) mixed_filter mixed_filter_at(const mixture *m, int32_t i)
{
    const mixed_filter f = {
        i < m->cut ? m->w + i * m->length : m->rest + (i - m->cut) * m->length,
        m->scale[m->channel ? m->channel[i] : i],
        m->gy + (m->place ? m->place[i] : i) * m->map,
    };
    return f;
}

static inline __attribute__((always_inline)) float *mixed_map_at(const mixture *m, int32_t c)
{
    return m->gx + (m->order ? m->order[c] : c) * m->map;
}

/* A filter's gradient, and its weights on four columns as they are multiplied. */
typedef struct {
    const float *gy;
    float weights[4];
} ready_filter;

/* Positions, 4 or 1, of four maps, made of n filters, or, unless `fresh`, added to: a weight and a
 * gradient are loaded once for four products. */
static inline __attribute__((always_inline)) void
mix_positions(int32_t positions, int32_t p, int32_t n, const ready_filter *filters, int fresh,
              float **gx)
{
    const ready_filter *f = filters;
    float sums[4][4];

#pragma GCC unroll 4
    for (int32_t c = 0; c < 4; c++) {
#pragma GCC unroll 4
        for (int32_t q = 0; q < positions; q++) {
            sums[c][q] = fresh ? 0.0f : gx[c][q];
        }
    }
    do {
        const float *gy = f->gy + p;

        IN_REGISTER(gy);
#pragma GCC unroll 4
        for (int32_t q = 0; q < positions; q++) {
#pragma GCC unroll 4
            for (int32_t c = 0; c < 4; c++) {
                sums[c][q] += f->weights[c] * gy[q];
            }
        }
    } while (++f < filters + n);
#pragma GCC unroll 4
    for (int32_t c = 0; c < 4; c++) {
#pragma GCC unroll 4
        for (int32_t q = 0; q < positions; q++) {
            *gx[c]++ = sums[c][q];
        }
    }
}

static inline __attribute__((always_inline)) void
mix_into_four(int32_t map, int32_t n, const ready_filter *filters, int fresh, float *const *maps)
{
    const int32_t fours = map / 4 * 4;
    float *gx[4] = {maps[0], maps[1], maps[2], maps[3]};

    for (int32_t p = 0; p < fours; p += 4) {
        mix_positions(4, p, n, filters, fresh, gx);
    }
    for (int32_t p = fours; p < map; p++) {
        mix_positions(1, p, n, filters, fresh, gx);
    }
}

enum { READY = 24 };

/* Columns by four, with a few filters at a time, whose sums go on where those before them ended. */
static inline void mix_by_four(const mixture *m, int32_t columns)
{
    int32_t n;

    for (int32_t i = 0; i < m->n; i += n) {
        mixed_filter filters[READY];
        ready_filter ready[READY];

        for (n = 0; n < READY && i + n < m->n; n++) {
            filters[n] = mixed_filter_at(m, i + n);
            ready[n].gy = filters[n].gy;
        }
        for (int32_t c = 0; c < columns; c += 4) {
            float *maps[4];

#pragma GCC unroll 4
            for (int32_t k = 0; k < 4; k++) {
                maps[k] = mixed_map_at(m, c + k);
            }
            for (int32_t j = 0; j < n; j++) {
                const int8_t *w = filters[j].w + c;
                IN_REGISTER(w);
#pragma GCC unroll 4
                for (int32_t k = 0; k < 4; k++) {
                    ready[j].weights[k] = (float)w[k] * filters[j].scale;
                }
            }
            mix_into_four(m->map, n, ready, m->fresh && i == 0, maps);
        }
    }
}

enum { POSITIONS = 16 };

/* One column: sixteen positions at a time, with all filters. Where sums begin at 0, some are made twice
 * so that there are none left over. */
static __attribute__((noinline)) void mix_into_one(const mixture *m, int32_t column)
{
    const int32_t end = m->fresh ? m->map : m->map / POSITIONS * POSITIONS;

    for (int32_t p = 0; p < end; p += POSITIONS) {
        p = p + POSITIONS > end ? end - POSITIONS : p;
        const int8_t *w = (m->cut > 0 ? m->w : m->rest - m->cut * m->length) + column;
        float *gx = mixed_map_at(m, column) + p;
        float sums[POSITIONS];

        IN_REGISTER(gx);
#pragma GCC unroll 16
        for (int32_t q = 0; q < POSITIONS; q++) {
            sums[q] = m->fresh ? 0.0f : gx[q];
        }
        for (int32_t i = 0; i < m->n; i++, w += m->length) {
            if (i == m->cut) {
                w = m->rest + column;
            }
            const float weight = (float)*w * m->scale[m->channel ? m->channel[i] : i];
            const float *gy = m->gy + (m->place ? m->place[i] : i) * m->map + p;

            IN_REGISTER(gy);
#pragma GCC unroll 16
            for (int32_t q = 0; q < POSITIONS; q++) {
                sums[q] += weight * gy[q];
            }
        }
#pragma GCC unroll 16
        for (int32_t q = 0; q < POSITIONS; q++) {
            gx[q] = sums[q];
        }
    }
}

/* One filter: sixteen positions of its gradient stay in registers for all columns. */
static __attribute__((noinline)) void mix_from_one(const mixture *m, int32_t columns)
{
    const mixed_filter f = mixed_filter_at(m, 0);

    for (int32_t p = 0; p + POSITIONS <= m->map; p += POSITIONS) {
        float gy[POSITIONS];

#pragma GCC unroll 16
        for (int32_t q = 0; q < POSITIONS; q++) {
            gy[q] = f.gy[p + q];
        }
        for (int32_t c = 0; c < columns; c++) {
            const float weight = (float)f.w[c] * f.scale;
            float *gx = mixed_map_at(m, c) + p;

            IN_REGISTER(gx);
#pragma GCC unroll 2
            for (int32_t half = 0; half < POSITIONS; half += POSITIONS / 2) {
                float sums[POSITIONS / 2];

#pragma GCC unroll 8
                for (int32_t q = 0; q < POSITIONS / 2; q++) {
                    sums[q] = gx[half + q] + weight * gy[half + q];
                }
#pragma GCC unroll 8
                for (int32_t q = 0; q < POSITIONS / 2; q++) {
                    gx[half + q] = sums[q];
                }
            }
        }
    }
}

/* A column's positions from `first` on: one by one. */
static inline void mix_last(const mixture *m, int32_t column, int32_t first)
{
    float *gx = mixed_map_at(m, column);

    for (int32_t p = first; p < m->map; p++) {
        float sum = m->fresh ? 0.0f : gx[p];

        for (int32_t i = 0; i < m->n; i++) {
            const mixed_filter f = mixed_filter_at(m, i);
            sum += (float)f.w[column] * f.scale * f.gy[p];
        }
        gx[p] = sum;
    }
}

static __attribute__((noinline, unused)) void mix_maps(const mixture *m, int32_t columns)
{
    const int32_t lone_filter = m->n == 1 && !m->fresh;
    const int32_t fours = lone_filter ? 0 : columns / 4 * 4;
    const int32_t whole = m->map / POSITIONS * POSITIONS;
    const int32_t last = m->fresh && whole > 0 ? m->map : whole;

    if (fours > 0) {
        mix_by_four(m, fours);
    }
    if (lone_filter) {
        mix_from_one(m, columns);
    }
    for (int32_t c = fours; c < columns && !lone_filter && whole > 0; c++) {
        mix_into_one(m, c);
    }
    for (int32_t c = fours; c < columns && last < m->map; c++) {
        mix_last(m, c, last);
    }
}

/* Mixes the maps of filters to those of columns: of the columns in w, then of those in rest. Of gy and
 * gx there are all maps, or those of these filters or columns `alone`. */
static inline __attribute__((always_inline)) void
mix_columns(const qlinear_conv_shape *s, range filters, range columns, const float *gy,
            int32_t gy_alone, const int8_t *w, const float *scale, const int8_t *rest,
            const uint16_t *out_order, const uint16_t *in_order, int32_t fresh, float *gx,
            int32_t gx_alone)
{
    const int32_t learned = columns.end < s->columns ? columns.end : s->columns;
    mixture m = {
        .n = filters.end - filters.first,
        .map = s->in_height * s->in_width,
        .fresh = fresh,
        .scale = out_order ? scale : scale + filters.first,
        .channel = out_order ? out_order + filters.first : NULL,
        .gy = gy,
        .place = out_order && !gy_alone ? out_order + filters.first : NULL,
    };

    if (!out_order && !gy_alone) {
        m.gy += filters.first * m.map;
    }
    for (int32_t c = columns.first; c < columns.end;) {
        const int32_t end = c < learned ? learned : columns.end;
        const int32_t first = c - columns.first;

        m.gx = gx_alone ? gx + first * m.map : in_order ? gx : gx + c * m.map;
        m.order = gx_alone || !in_order ? NULL : in_order + c;
        if (c < learned) {
            m.length = s->columns;
            m.cut = s->filters - filters.first;
            m.w = w + filters.first * m.length + c;
            m.rest = rest + c;
        } else {
            m.length = s->in_channels - s->columns;
            m.cut = m.n;
            m.w = rest + filters.first * m.length + c - s->columns;
            m.rest = NULL;
        }
        mix_maps(&m, end - c);
        c = end;
    }
}

/* gx begins as onto; n elements. */
static inline __attribute__((always_inline)) void copy_onto(int32_t n, const float *onto, float *gx)
{
    if (onto && onto != gx) {
        memcpy(gx, onto, (size_t)n * sizeof *gx);
    }
}

static inline __attribute__((always_inline)) void begin_sums(int32_t n, const float *onto,
                                                             float *gx)
{
    if (onto == gx) {
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        gx[i] = onto ? onto[i] : 0.0f;
    }
}

/// Other kernels ///

/* gx += the taps of one filter on one channel, each times a copy of gy that it shifts. */
static inline __attribute__((always_inline)) void
add_shifted_maps(const qlinear_conv_shape *s, const float *gy, const int8_t *w, float scale, float *gx)
{
    for (int32_t kh = 0; kh < s->kernel_height; kh++) {
        const int32_t dh = kh * s->dilation_height - s->pad_top;
        const range rows = outputs_on_map(dh, s->stride_height, s->out_height, s->in_height);

        for (int32_t kw = 0; kw < s->kernel_width; kw++) {
            const int32_t dw = kw * s->dilation_width - s->pad_left;
            const range columns = outputs_on_map(dw, s->stride_width, s->out_width, s->in_width);
            const float weight = (float)*w++ * scale;

            for (int32_t oh = rows.first; oh < rows.end; oh++) {
                const float *gy_row = gy + oh * s->out_width;
                float *gx_row = gx + (oh * s->stride_height + dh) * s->in_width + dw;

                for (int32_t ow = columns.first; ow < columns.end; ow++) {
                    gx_row[ow * s->stride_width] += weight * gy_row[ow];
                }
            }
        }
    }
}

/* A row of gx is made in tiles of this many columns, whose sums stay in registers. */
enum { TILE = 8, MOST_TAPS = 49 };

/* The tile at column `at`, a constant at compile time: all loops are unrolled, and taps without an
 * output cost nothing. `shift` moves it by this many tiles; the same taps must meet outputs there. Every
 * stride-th of the given rows of taps meets a row of gy, from gy_row upwards. */
static inline __attribute__((always_inline)) void
make_tile(const qlinear_conv_shape *s, int32_t at, int32_t width, int32_t shift, const float *gy_row,
          int32_t rows, const float *taps, int fresh, float *gx_row)
{
    float sums[TILE];
    float *gx = gx_row + at + shift * TILE;

    gy_row += shift * TILE / s->stride_width;
#pragma GCC unroll 8
    for (int32_t j = 0; j < width; j++) {
        sums[j] = fresh ? 0.0f : gx[j];
    }
    do {
        IN_REGISTER(gy_row);
#pragma GCC unroll 16
        for (int32_t kw = 0; kw < s->kernel_width; kw++) {
#pragma GCC unroll 8
            for (int32_t j = 0; j < width; j++) {
                const int32_t from = at + j + s->pad_left - kw * s->dilation_width;
                if (from % s->stride_width == 0 && from >= 0 && from / s->stride_width < s->out_width) {
                    sums[j] += taps[kw] * gy_row[from / s->stride_width];
                }
            }
        }
        taps += s->stride_height * s->kernel_width;
        gy_row -= s->dilation_height * s->out_width;
    } while (--rows > 0);
#pragma GCC unroll 8
    for (int32_t j = 0; j < width; j++) {
        gx[j] = sums[j];
    }
}

/* The tiles of a row: first, last, and those in between, all of which meet outputs with all taps. */
static inline __attribute__((always_inline)) void
make_row(const qlinear_conv_shape *s, const float *gy, int32_t ih, const float *taps, int fresh,
         float *gx)
{
    const int32_t last = (s->in_width - 1) / TILE;
    float *gx_row = gx + ih * s->in_width;
    int32_t kh = (ih + s->pad_top) % s->stride_height;
    int32_t oh = (ih + s->pad_top - kh) / s->stride_height;

    const int32_t below = oh - (s->out_height - 1);
    const int32_t none = below > 0 ? (below + s->dilation_height - 1) / s->dilation_height : 0;

    oh -= none * s->dilation_height;
    kh += none * s->stride_height;
    const int32_t left = (s->kernel_height - kh + s->stride_height - 1) / s->stride_height;
    const int32_t above = oh < 0 ? 0 : oh / s->dilation_height + 1;
    const int32_t rows = left < above ? left : above;
    const float *gy_row = gy + oh * s->out_width;

    if (rows <= 0) {
        if (fresh) {
            memset(gx_row, 0, (size_t)s->in_width * sizeof *gx_row);
        }
        return;
    }
    taps += kh * s->kernel_width;
    make_tile(s, 0, last > 0 ? TILE : s->in_width, 0, gy_row, rows, taps, fresh, gx_row);
    for (int32_t shift = 0; shift < last - 1; shift++) {
        make_tile(s, TILE, TILE, shift, gy_row, rows, taps, fresh, gx_row);
    }
    if (last > 0) {
        make_tile(s, last * TILE, s->in_width - last * TILE, 0, gy_row, rows, taps, fresh, gx_row);
    }
}

/* Whether rows can be made of tiles. */
static inline __attribute__((always_inline)) int has_tiles(const qlinear_conv_shape *s)
{
    const int32_t last = (s->in_width - 1) / TILE;
    const int32_t reach = (s->kernel_width - 1) * s->dilation_width;
    const int32_t behind = last * TILE - 1 + s->pad_left;
    const int middle = TILE + s->pad_left - reach >= 0 && behind / s->stride_width < s->out_width;

    return s->kernel_height * s->kernel_width <= MOST_TAPS && s->kernel_width <= 16 &&
           (s->stride_height == 1 || s->dilation_height == 1) && TILE % s->stride_width == 0 &&
           (last < 2 || middle);
}

/* gx = the sums of one filter on one channel, or gx += them, unless `fresh`. */
static inline __attribute__((always_inline)) void
add_taps(const qlinear_conv_shape *s, const float *gy, const int8_t *w, float scale, int fresh,
         float *gx)
{
    const int32_t map = s->in_height * s->in_width;

    if (has_tiles(s)) {
        float taps[MOST_TAPS];

        for (int32_t k = 0; k < s->kernel_height * s->kernel_width; k++) {
            taps[k] = (float)w[k] * scale;
        }
        for (int32_t ih = 0; ih < s->in_height; ih++) {
            make_row(s, gy, ih, taps, fresh, gx);
        }
        return;
    }
    if (fresh) {
        memset(gx, 0, (size_t)map * sizeof *gx);
    }
    add_shifted_maps(s, gy, w, scale, gx);
}

/* Whether positions correspond one to one, so that maps are mixed as they are. */
static inline __attribute__((always_inline)) int is_pointwise(const qlinear_conv_shape *s)
{
    return s->groups == 1 && s->kernel_height * s->kernel_width == 1 &&
           s->stride_height * s->stride_width == 1 && s->in_height == s->out_height &&
           s->in_width == s->out_width;
}

/* gx, the maps of one group, += the columns of a filter, whose gy is one map. */
static inline __attribute__((always_inline)) void
add_filter(const qlinear_conv_shape *s, const conv_filter *f, const float *gy, float scale,
           const uint16_t *in_order, int fresh, float *gx)
{
    const int32_t in_map = s->in_height * s->in_width;

    for (int32_t c = 0; c < s->in_channels / s->groups; c++) {
        add_taps(s, gy, column_at(s, f, c), scale, fresh, gx + (in_order ? in_order[c] : c) * in_map);
    }
}

/* Whether a map of gx comes from one filter alone. */
static inline __attribute__((always_inline)) int is_depthwise(const qlinear_conv_shape *s)
{
    return s->groups == s->in_channels && s->groups == s->out_channels;
}

/* Faster than memcpy(): many at a time go through registers together. On a Cortex-M4F 16, in 4
 * instructions; by four GCC 12 takes 14 for 8. */
static inline __attribute__((always_inline)) void copy_plane(int32_t n, const float *from, float *to)
{
    typedef struct {
        float of[4];
    } together;
    int32_t left = n;

#if QUANTIZE_FPU
    if (n >= 16) {
        const float *end = from + n / 16 * 16;
        __asm__ volatile("1:\n\t"
                         "vldmia %[from]!, {s0-s15}\n\t"
                         "vstmia %[to]!, {s0-s15}\n\t"
                         "cmp %[from], %[end]\n\t"
                         "bne 1b"
                         : [from] "+&r"(from), [to] "+&r"(to)
                         : [end] "r"(end)
                         : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9",
                           "s10", "s11", "s12", "s13", "s14", "s15");
        left = n % 16;
    }
#endif
    for (; left >= 8; left -= 8, from += 8, to += 8) {
        ((together *)to)[0] = ((const together *)from)[0];
        ((together *)to)[1] = ((const together *)from)[1];
    }
    for (; left > 0; left--) {
        *to++ = *from++;
    }
}

/* `scratch`, one plane of gy, is given where each group is one channel (depthwise) and the maps of gy
 * and gx are of one size: then gx may be gy itself, and is not added to anything. */
static inline __attribute__((always_inline)) void
qlinear_conv_input_gradient_i8(const qlinear_conv_shape *s, const float *gy,
                               const int8_t *restrict w, const float *restrict scale,
                               const int8_t *restrict rest, const uint16_t *restrict out_order,
                               const uint16_t *restrict in_order, const float *onto, float *gx,
                               float *restrict scratch)
{
    const int32_t in_group = s->in_channels / s->groups;
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;

    if (is_pointwise(s)) {
        const range filters = {0, s->out_channels}, columns = {0, s->in_channels};

        copy_onto(s->in_channels * in_map, onto, gx);
        mix_columns(s, filters, columns, gy, 0, w, scale, rest, out_order, in_order, !onto, gx, 0);
        return;
    }
    if (!is_depthwise(s)) {
        begin_sums(s->in_channels * in_map, onto, gx);
    }
    for (int32_t i = 0; i < s->out_channels; i++) {
        const conv_filter f = filter_at(s, i, w, rest, out_order);
        const float *gy_map = gy + f.channel * out_map;

        if (scratch) {
            copy_plane(out_map, gy_map, scratch);
            gy_map = scratch;
        }
        const int32_t group = f.channel / (s->out_channels / s->groups);
        add_filter(s, &f, gy_map, scale[f.channel], in_order, is_depthwise(s),
                   gx + group * in_group * in_map);
    }
}

/// A few channels at a time ///

/* Of one group, the maps of gx that `count` columns make, from column part * count on; onto has all
 * maps. */
static inline __attribute__((always_inline)) void
qlinear_conv_input_gradient_columns_i8(const qlinear_conv_shape *s, int32_t part, int32_t count,
                                       const float *restrict gy, const int8_t *restrict w,
                                       const float *restrict scale, const int8_t *restrict rest,
                                       const uint16_t *restrict out_order,
                                       const uint16_t *restrict in_order, const float *onto,
                                       float *gx)
{
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;

    const range filters = {0, s->out_channels}, columns = {part * count, (part + 1) * count};

    if (is_pointwise(s)) {
        for (int32_t n = 0; onto && n < count; n++) {
            const int32_t c = columns.first + n;
            copy_onto(in_map, onto + (in_order ? in_order[c] : c) * in_map, gx + n * in_map);
        }
        mix_columns(s, filters, columns, gy, 0, w, scale, rest, out_order, in_order, !onto, gx, 1);
        return;
    }
    for (int32_t c = columns.first; c < columns.end; c++, gx += in_map) {
        begin_sums(in_map, onto ? onto + (in_order ? in_order[c] : c) * in_map : NULL, gx);
        for (int32_t i = 0; i < s->out_channels; i++) {
            const conv_filter f = filter_at(s, i, w, rest, out_order);
            const float *gy_map = gy + f.channel * out_map;
            add_taps(s, gy_map, column_at(s, &f, c), scale[f.channel], 0, gx);
        }
    }
}

/* What `count` filters from filter part * count on add to gx; gy are the maps of these filters alone.
 * Of one group gx are all maps, and parts come in order: part 0 begins the sums. Where each group is
 * one channel (depthwise) gx are the maps of these filters alone. */
static inline __attribute__((always_inline)) void
qlinear_conv_input_gradient_filters_i8(const qlinear_conv_shape *s, int32_t part, int32_t count,
                                       const float *restrict gy, const int8_t *restrict w,
                                       const float *restrict scale, const int8_t *restrict rest,
                                       const uint16_t *restrict out_order,
                                       const uint16_t *restrict in_order, const float *onto,
                                       float *gx)
{
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;

    if (is_pointwise(s)) {
        const range filters = {part * count, (part + 1) * count}, columns = {0, s->in_channels};
        const int32_t fresh = part == 0 && !onto;

        copy_onto(s->in_channels * in_map, part == 0 ? onto : NULL, gx);
        mix_columns(s, filters, columns, gy, 1, w, scale, rest, out_order, in_order, fresh, gx, 0);
        return;
    }
    if (s->groups == 1 && part == 0) {
        begin_sums(s->in_channels * in_map, onto, gx);
    }
    for (int32_t n = 0; n < count; n++) {
        const conv_filter f = filter_at(s, part * count + n, w, rest, out_order);
        float *gx_group = gx + (s->groups == 1 ? 0 : n) * in_map;
        add_filter(s, &f, gy + n * out_map, scale[f.channel], in_order, s->groups > 1, gx_group);
    }
}

#endif
