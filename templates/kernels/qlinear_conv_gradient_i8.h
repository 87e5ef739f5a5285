/* Gradients of an int8 convolution's weights and bias, batch 1. Each element of the gradient is
 * complete before it goes to the parameter's learner, so no gradient array is needed.
 *
 * gy      (out_channels, out_height, out_width)
 * x       int8 (in_channels, in_height, in_width), or, `saved`, only the channels that are read: in
 *         the order of w's columns, or of w's filters where each group is one channel (depthwise)
 * factor  (out_channels): multiplied with a sum, it gives the gradient for the learner
 *
 *   gw[m, c, k] = factor[m] * sum over p of
 *                 gy[m, p] * (x[c, p * stride + k * dilation - pad] - x_zero_point)
 *   gb[m]       = factor[m] * sum over p of gy[m, p]
 *
 * for the `filters` and `columns` of w (qlinear_conv_shape.h; in_channels are those that w reads). Sums
 * are made in the order output row, output column, from 0. Where there is one position (a dense layer)
 * the gradient is (factor * gy) * x instead, which learner_take_inputs_i8() may multiply in fixed point.
 *
 * Part `part` has the `count` filters or channels from part * count on; those beyond w's end are left
 * out.
 */
#ifndef TINYODL_QLINEAR_CONV_GRADIENT_I8_H
#define TINYODL_QLINEAR_CONV_GRADIENT_I8_H

#include <stddef.h>
#include <stdint.h>

#include "in_register.h"
#include "learner_i8.h"
#include "qlinear_conv_shape.h"
#include "sixteen_sums_f32.h"

/* Where the products for one tap lie: the outputs that it meets, and x under the first of them all. */
typedef struct {
    range rows, columns;
    const int8_t *x;
} met_outputs;

static inline __attribute__((always_inline)) met_outputs
outputs_met(const qlinear_conv_shape *s, const int8_t *x_map, int32_t kh, int32_t kw)
{
    const int32_t dh = kh * s->dilation_height - s->pad_top;
    const int32_t dw = kw * s->dilation_width - s->pad_left;
    const met_outputs met = {
        outputs_on_map(dh, s->stride_height, s->out_height, s->in_height),
        outputs_on_map(dw, s->stride_width, s->out_width, s->in_width),
        x_map + dh * s->in_width + dw,
    };
    return met;
}

static inline __attribute__((always_inline)) float
sum_of_products(const qlinear_conv_shape *s, const met_outputs *met, int32_t x_zero_point,
                const float *gy)
{
    float sum = 0.0f;

    for (int32_t oh = met->rows.first; oh < met->rows.end; oh++) {
        const int8_t *x_row = met->x + oh * s->stride_height * s->in_width;
        const float *gy_row = gy + oh * s->out_width;
        for (int32_t ow = met->columns.first; ow < met->columns.end; ow++) {
            sum += gy_row[ow] * (float)(x_row[ow * s->stride_width] - x_zero_point);
        }
    }
    return sum;
}

/// Pointwise, one group: x becomes float32 once for all filters ///

/* gy as maps of n filters, filter i has gy[place[i]] and factor[channel[i]]; the columns of w read
 * x[order[c]]. What is NULL is 0, 1, 2, ... Weights i * columns on of the learner are those of filter i
 * from filter `first` on. */
typedef struct {
    int32_t n, first, columns, map, x_zero_point;
    const float *gy, *factor;
    const int8_t *x;
    const uint16_t *channel, *place, *order;
    const learner_i8 *learner;
} mixed_gradient;

static inline __attribute__((always_inline)) const float *
mixed_gradient_map(const mixed_gradient *m, int32_t i)
{
    return m->gy + (m->place ? m->place[i] : i) * m->map;
}

static inline __attribute__((always_inline)) const int8_t *
mixed_gradient_x(const mixed_gradient *m, int32_t c)
{
    const int32_t column = c < m->columns ? c : m->columns - 1; /* behind the last one: not used */
    return m->x + (m->order ? m->order[column] : column) * m->map;
}

/* Sums of products of maps of gy, of `filters` (4 or 1), with four maps of x: n positions, from 0 or on
 * from where sums are. `ready`: x is float32, four channels side by side; else int8 maps are given. */
static inline __attribute__((always_inline)) void
sum_products(int32_t filters, int32_t n, const float *const *gy, int ready, const float *x,
             const int8_t *const *x_maps, int32_t x_zero_point, int fresh, float *sums)
{
    const float *maps[4], *end = gy[0] + n;
    const int8_t *bytes[4];
    float kept[4][4];

#pragma GCC unroll 4
    for (int32_t i = 0; i < filters; i++) {
        maps[i] = gy[i];
#pragma GCC unroll 4
        for (int32_t c = 0; c < 4; c++) {
            kept[i][c] = fresh ? 0.0f : sums[4 * i + c];
        }
    }
#pragma GCC unroll 4
    for (int32_t c = 0; c < 4; c++) {
        bytes[c] = ready ? NULL : x_maps[c];
    }
    do {
        float real[4];
#pragma GCC unroll 4
        for (int32_t c = 0; c < 4; c++) {
            real[c] = ready ? *x++ : (float)(*bytes[c]++ - x_zero_point);
        }
#pragma GCC unroll 4
        for (int32_t i = 0; i < filters; i++) {
            const float g = *maps[i]++;
#pragma GCC unroll 4
            for (int32_t c = 0; c < 4; c++) {
                kept[i][c] += g * real[c];
            }
        }
    } while (maps[0] < end);
#pragma GCC unroll 4
    for (int32_t i = 0; i < filters; i++) {
#pragma GCC unroll 4
        for (int32_t c = 0; c < 4; c++) {
            sums[4 * i + c] = kept[i][c];
        }
    }
}

/* The gradients of the weights of up to four columns from c on, of some filters. */
static inline __attribute__((always_inline)) void
take_sums(const mixed_gradient *m, const learner_i8 *learner, int32_t first, int32_t filters,
          int32_t c, const float *sums)
{
    const int32_t n = m->columns - c < 4 ? m->columns - c : 4;

    for (int32_t i = first; i < first + filters; i++, sums += 4) {
        const float factor = m->factor[m->channel ? m->channel[i] : i];
        learner_take_row_i8(learner, (m->first + i) * m->columns + c, n, factor, sums);
    }
}

/* Of few filters: x is converted where it is multiplied. */
static __attribute__((noinline, unused)) void few_weight_gradients(const mixed_gradient *m)
{
    const learner_i8 learner = *m->learner;

    for (int32_t c = 0; c < m->columns; c += 4) {
        const int8_t *x[4];
        const float *gy[4];
        float sums[4 * 4];

        for (int32_t k = 0; k < 4; k++) {
            x[k] = mixed_gradient_x(m, c + k);
            gy[k] = mixed_gradient_map(m, k < m->n ? k : 0);
        }
        if (m->n == 4) {
            sum_products(4, m->map, gy, 0, NULL, x, m->x_zero_point, 1, sums);
        } else {
            for (int32_t i = 0; i < m->n; i++) {
                sum_products(1, m->map, gy + i, 0, NULL, x, m->x_zero_point, 1, sums + 4 * i);
            }
        }
        take_sums(m, &learner, 0, m->n, c, sums);
    }
}

/* n positions of four maps of x as they are multiplied. */
static inline __attribute__((always_inline)) void
real_x(const mixed_gradient *m, int32_t c, int32_t first, int32_t n, float *real)
{
    const int8_t *x[4];

#pragma GCC unroll 4
    for (int32_t k = 0; k < 4; k++) {
        x[k] = mixed_gradient_x(m, c + k) + first;
    }
    for (const float *end = real + 4 * n; real < end; real += 4) {
#pragma GCC unroll 4
        for (int32_t k = 0; k < 4; k++) {
            real[k] = (float)(*x[k]++ - m->x_zero_point);
        }
    }
}

enum { WHOLE = 64, SOME = 48, FEW = 4, MORE = 16 };

/* The same of four filters, from their sixteen sums. */
static inline __attribute__((always_inline)) void
take_sixteen(const mixed_gradient *m, const learner_i8 *learner, int32_t first, int32_t c,
             const float *sums)
{
    const int32_t columns = m->columns;
    const float *factor = m->factor + first;
    float by_channel[4];

    if (c + 4 > columns) {
        take_sums(m, learner, first, 4, c, sums);
        return;
    }
    if (m->channel) {
#pragma GCC unroll 4
        for (int32_t i = 0; i < 4; i++) {
            by_channel[i] = m->factor[m->channel[first + i]];
        }
        factor = by_channel;
    }
    learner_take_fours_i8(learner, 4, (m->first + first) * columns + c, columns, factor, sums);
}

/* Of many filters with a small map, of which x becomes float32 as a whole, once for all of them. */
static __attribute__((noinline, unused)) void small_weight_gradients(const mixed_gradient *m)
{
    const learner_i8 learner = *m->learner;
    const int32_t fours = m->n & ~3; /* counted so, or GCC 12 takes what is left for a loop without end */
    float x[4 * WHOLE];

    for (int32_t c = 0; c < m->columns; c += 4) {
        real_x(m, c, 0, m->map, x);
        for (int32_t i = 0; i < fours; i += 4) {
            const float *gy[4];
            float sums[16];

#pragma GCC unroll 4
            for (int32_t k = 0; k < 4; k++) {
                gy[k] = mixed_gradient_map(m, i + k);
            }
            sixteen_sums_f32(m->map, gy, x, 1, sums);
            take_sixteen(m, &learner, i, c, sums);
        }
        for (int32_t i = fours; i < m->n; i++) {
            const float *gy = mixed_gradient_map(m, i);
            float sums[4];

            sum_products(1, m->map, &gy, 1, x, NULL, 0, 1, sums);
            take_sums(m, &learner, i, 1, c, sums);
        }
    }
}

/* With a larger map, of which some positions become float32 for some filters at a time. */
static __attribute__((noinline, unused)) void many_weight_gradients(const mixed_gradient *m)
{
    const learner_i8 learner = *m->learner;
    float x[4 * SOME], sums[4 * MORE];

    for (int32_t c = 0; c < m->columns; c += 4) {
        for (int32_t first = 0; first < m->n; first += MORE) {
            const int32_t filters = m->n - first < MORE ? m->n - first : MORE, fours = filters & ~3;

            for (int32_t p = 0; p < m->map; p += SOME) {
                const int32_t n = m->map - p < SOME ? m->map - p : SOME;

                real_x(m, c, p, n, x);
                for (int32_t i = 0; i < fours; i += 4) {
                    const float *gy[4];
#pragma GCC unroll 4
                    for (int32_t k = 0; k < 4; k++) {
                        gy[k] = mixed_gradient_map(m, first + i + k) + p;
                    }
                    sixteen_sums_f32(n, gy, x, p == 0, sums + 4 * i);
                }
                for (int32_t i = fours; i < filters; i++) {
                    const float *gy = mixed_gradient_map(m, first + i) + p;
                    sum_products(1, n, &gy, 1, x, NULL, 0, p == 0, sums + 4 * i);
                }
            }
            take_sums(m, &learner, first, filters, c, sums);
        }
    }
}

/* A dense layer: there is one position. */
static __attribute__((noinline, unused)) void dense_weight_gradient(const mixed_gradient *m)
{
    const learner_i8 learner = *m->learner;
    learner_input_i8 zero = learner_input_zero(m->x_zero_point);

    IN_REGISTER(zero); /* or GCC 12 subtracts first, and then makes ready */
    for (int32_t c = 0; c < m->columns; c += 4 * WHOLE) {
        const int32_t n = m->columns - c < 4 * WHOLE ? m->columns - c : 4 * WHOLE;
        learner_input_i8 x[4 * WHOLE];

        if (m->order) {
            for (int32_t k = 0; k < n; k++) {
                x[k] = learner_input_of(m->x[m->order[c + k]], zero);
            }
        } else {
#pragma GCC unroll 4
            for (int32_t k = 0; k < n; k++) {
                x[k] = learner_input_of(m->x[c + k], zero);
            }
        }
        for (int32_t i = 0; i < m->n; i++) {
            const float factor = m->factor[m->channel ? m->channel[i] : i];
            const float gy = m->gy[m->place ? m->place[i] : i];
            learner_take_inputs_i8(&learner, (m->first + i) * m->columns + c, n, factor * gy, x);
        }
    }
}

static inline __attribute__((always_inline)) int is_mixed(const qlinear_conv_shape *s)
{
    return s->groups == 1 && s->kernel_height * s->kernel_width == 1 &&
           s->stride_height * s->stride_width == 1 && s->in_height == s->out_height &&
           s->in_width == s->out_width;
}

/// One filter on one channel: a kernel row's sums at once ///

enum { TILE_OUTPUTS = 8, MOST_SUMS = 7 };

/* Products of a row of gy and the row of x under kernel row kh, for outputs `at` to at + width - 1 and
 * all taps; each x is converted once. `at` and `width` are constants at compile time. `shift` moves the
 * tile by this many tiles; the same taps must meet the map there. */
static inline __attribute__((always_inline)) void
add_tile_of_products(const qlinear_conv_shape *s, int32_t at, int32_t width, int32_t shift,
                     const float *gy_row, const int8_t *x_row, int32_t x_zero_point, float *sums)
{
    gy_row += shift * TILE_OUTPUTS;
    x_row += shift * TILE_OUTPUTS * s->stride_width;
#pragma GCC unroll 8
    for (int32_t ow = at; ow < at + width; ow++) {
#pragma GCC unroll 7
        for (int32_t kw = 0; kw < s->kernel_width; kw++) {
            const int32_t iw = ow * s->stride_width + kw * s->dilation_width - s->pad_left;
            if (iw >= 0 && iw < s->in_width) {
                sums[kw] += gy_row[ow] * (float)(x_row[iw] - x_zero_point);
            }
        }
    }
}

/* The sums of all taps of kernel row kh. */
static inline __attribute__((always_inline)) void
sum_kernel_row(const qlinear_conv_shape *s, int32_t kh, const float *gy, const int8_t *x,
               int32_t x_zero_point, float *sums)
{
    const int32_t dh = kh * s->dilation_height - s->pad_top;
    const range rows = outputs_on_map(dh, s->stride_height, s->out_height, s->in_height);
    const int32_t last = (s->out_width - 1) / TILE_OUTPUTS;
    const int32_t first_width = last > 0 ? TILE_OUTPUTS : s->out_width;
    float kept[MOST_SUMS] = {0.0f};

    for (int32_t oh = rows.first; oh < rows.end; oh++) {
        const float *gy_row = gy + oh * s->out_width;
        const int8_t *x_row = x + (oh * s->stride_height + dh) * s->in_width;

        add_tile_of_products(s, 0, first_width, 0, gy_row, x_row, x_zero_point, kept);
        for (int32_t shift = 0; shift < last - 1; shift++) {
            add_tile_of_products(s, TILE_OUTPUTS, TILE_OUTPUTS, shift, gy_row, x_row, x_zero_point,
                                 kept);
        }
        if (last > 0) {
            add_tile_of_products(s, last * TILE_OUTPUTS, s->out_width - last * TILE_OUTPUTS, 0, gy_row,
                                 x_row, x_zero_point, kept);
        }
    }
#pragma GCC unroll 7
    for (int32_t kw = 0; kw < s->kernel_width; kw++) {
        sums[kw] = kept[kw];
    }
}

/* Whether the rows between the first and the last tile meet the map with all taps. */
static inline __attribute__((always_inline)) int has_tiles_of_products(const qlinear_conv_shape *s)
{
    const int32_t last = (s->out_width - 1) / TILE_OUTPUTS;
    const int32_t reach = (s->kernel_width - 1) * s->dilation_width - s->pad_left;
    const int middle = TILE_OUTPUTS * s->stride_width >= s->pad_left &&
                       (last * TILE_OUTPUTS - 1) * s->stride_width + reach < s->in_width;
    return s->kernel_width <= MOST_SUMS && (last < 2 || middle);
}

/* The gradients of one filter's taps on one channel of x, which begin at weight `at`. */
static inline __attribute__((always_inline)) void
taps_gradient(const qlinear_conv_shape *s, int32_t at, const float *gy, const int8_t *x,
              int32_t x_zero_point, float factor, const learner_i8 *learner)
{
    float sums[MOST_SUMS];

    if (has_tiles_of_products(s)) {
        for (int32_t kh = 0; kh < s->kernel_height; kh++) {
            sum_kernel_row(s, kh, gy, x, x_zero_point, sums);
            for (int32_t kw = 0; kw < s->kernel_width; kw++) {
                learner_take_i8(learner, at++, factor * sums[kw]);
            }
        }
        return;
    }
    for (int32_t k = 0; k < s->kernel_height * s->kernel_width; k++) {
        const met_outputs met = outputs_met(s, x, k / s->kernel_width, k % s->kernel_width);
        const float sum = sum_of_products(s, &met, x_zero_point, gy);
        learner_take_i8(learner, at++, factor * sum);
    }
}

/* gy has the maps of all channels, or, `alone`, those of the part's filters in their order. */
static inline __attribute__((always_inline)) void
qlinear_conv_weight_gradient_i8(const qlinear_conv_shape *s, int32_t part, int32_t count,
                                int32_t alone, int32_t x_zero_point, int32_t saved,
                                const float *gy, const int8_t *x, const float *factor,
                                const uint16_t *out_order, const uint16_t *in_order,
                                const learner_i8 *learner)
{
    const int32_t first = part * count;
    const int32_t end = first + count < s->filters ? first + count : s->filters;
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;
    const int32_t taps = s->kernel_height * s->kernel_width;

    if (first >= end) {
        return;
    }
    if (is_mixed(s)) {
        const mixed_gradient m = {
            .n = end - first,
            .first = first,
            .columns = s->columns,
            .map = out_map,
            .x_zero_point = x_zero_point,
            .gy = out_order || alone ? gy : gy + first * out_map,
            .factor = out_order ? factor : factor + first,
            .x = x,
            .channel = out_order ? out_order + first : NULL,
            .place = out_order && !alone ? out_order + first : NULL,
            .order = in_order,
            .learner = learner,
        };
        if (out_map == 1) {
            dense_weight_gradient(&m);
        } else if (count <= FEW) {
            few_weight_gradients(&m);
        } else if (out_map <= WHOLE) {
            small_weight_gradients(&m);
        } else {
            many_weight_gradients(&m);
        }
        return;
    }
    for (int32_t i = first, at = first * s->columns * taps; i < end; i++) {
        const int32_t channel = out_order ? out_order[i] : i;
        const float *gy_map = gy + (alone ? i - first : channel) * out_map;

        for (int32_t c = 0; c < s->columns; c++, at += taps) {
            const int32_t read = channel_read(s, saved ? i : channel, c, in_order);
            taps_gradient(s, at, gy_map, x + read * in_map, x_zero_point, factor[channel], learner);
        }
    }
}

/* gy has the maps of the part's channels alone. Four of them at a time, so that no sum waits for
 * itself. */
static __attribute__((noinline, unused)) void
qlinear_conv_bias_gradient_i8(int32_t part, int32_t count, int32_t positions, const float *gy,
                              const float *factor, const learner_i16 *learner)
{
    const int32_t first = part * count, end = first + count;
    int32_t together;

    for (int32_t m = first; m < end; m += together, gy += together * positions) {
        float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};

        together = m + 4 <= end ? 4 : 1;
        if (together == 4) {
            const float *maps[4] = {gy, gy + positions, gy + 2 * positions, gy + 3 * positions};
            for (int32_t p = 0; p < positions; p++) {
#pragma GCC unroll 4
                for (int32_t k = 0; k < 4; k++) {
                    sums[k] += *maps[k]++;
                }
            }
        } else {
            for (int32_t p = 0; p < positions; p++) {
                sums[0] += gy[p];
            }
        }
        for (int32_t k = 0; k < together; k++) {
            learner_take_i16(learner, m + k, factor[m + k] * sums[k]);
        }
    }
}

#endif
