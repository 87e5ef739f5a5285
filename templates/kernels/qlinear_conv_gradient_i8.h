/* Gradients of an int8 convolution's weights and bias, batch 1. Each element of the gradient is
 * complete before it goes to the parameter's learner, so no gradient array is needed.
 *
 * gy      (out_channels, out_height, out_width)
 * x       int8 (in_channels, in_height, in_width), or, `saved`, only the channels that are read: in
 *         the order of w's columns, or of w's filters where each group is one channel (depthwise)
 * factor  (out_channels): what turns a sum into the gradient that the learner is given
 *
 *   gw[m, c, k] = factor[m] * sum over p of
 *                 gy[m, p] * (x[c, p * stride + k * dilation - pad] - x_zero_point)
 *   gb[m]       = factor[m] * sum over p of gy[m, p]
 *
 * for the `filters` and `columns` of w (qlinear_conv_shape.h; in_channels are those that w reads). Sums
 * are made in the order output row, output column, from 0.
 *
 * Part `part` are `count` filters or channels from part * count on; those that there are not in w do
 * not learn.
 */
#ifndef TINYODL_QLINEAR_CONV_GRADIENT_I8_H
#define TINYODL_QLINEAR_CONV_GRADIENT_I8_H

#include <stddef.h>
#include <stdint.h>

#include "learner_i8.h"
#include "qlinear_conv_shape.h"

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

/* The sums of four filters, whose gradients of the output begin at gy[0] to gy[3]: each x is read and
 * becomes float32 once. */
static inline __attribute__((always_inline)) void
four_sums_of_products(const qlinear_conv_shape *s, const met_outputs *met, int32_t x_zero_point,
                      const float *const *gy, float *sums)
{
    float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;

    for (int32_t oh = met->rows.first; oh < met->rows.end; oh++) {
        const int8_t *x_row = met->x + oh * s->stride_height * s->in_width;
        const int32_t row = oh * s->out_width;
        for (int32_t ow = met->columns.first; ow < met->columns.end; ow++) {
            const float real = (float)(x_row[ow * s->stride_width] - x_zero_point);
            sum0 += gy[0][row + ow] * real;
            sum1 += gy[1][row + ow] * real;
            sum2 += gy[2][row + ow] * real;
            sum3 += gy[3][row + ow] * real;
        }
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* gy has the maps of all channels, or, `alone`, those of the part's filters in their order. */
static inline __attribute__((always_inline)) void
qlinear_conv_weight_gradient_i8(const qlinear_conv_shape *s, int32_t part, int32_t count,
                                int32_t alone, int32_t x_zero_point, int32_t saved,
                                const float *restrict gy, const int8_t *restrict x,
                                const float *restrict factor, const uint16_t *restrict out_order,
                                const uint16_t *restrict in_order, const learner_i8 *learner)
{
    const int32_t first = part * count;
    const int32_t end = first + count < s->filters ? first + count : s->filters;
    const int32_t in_map = s->in_height * s->in_width;
    const int32_t out_map = s->out_height * s->out_width;
    const int32_t taps = s->kernel_height * s->kernel_width;
    const int32_t weights = s->columns * taps;
    int32_t together;

    for (int32_t i = first; i < end; i += together) {
        int32_t channels[4];
        const float *maps[4];
        int32_t at = i * weights;

        together = s->groups == 1 && i + 4 <= end ? 4 : 1;
        for (int32_t n = 0; n < together; n++) {
            channels[n] = out_order ? out_order[i + n] : i + n;
            maps[n] = gy + (alone ? i + n - first : channels[n]) * out_map;
        }
        for (int32_t c = 0; c < s->columns; c++) {
            const int32_t read = channel_read(s, saved ? i : channels[0], c, in_order);

            for (int32_t k = 0; k < taps; k++, at++) {
                const met_outputs met = outputs_met(s, x + read * in_map, k / s->kernel_width,
                                                    k % s->kernel_width);
                float sums[4];

                if (together == 4) {
                    four_sums_of_products(s, &met, x_zero_point, maps, sums);
                } else {
                    sums[0] = sum_of_products(s, &met, x_zero_point, maps[0]);
                }
                for (int32_t n = 0; n < together; n++) {
                    learner_take_i8(learner, at + n * weights, factor[channels[n]] * sums[n]);
                }
            }
        }
    }
}

/* gy has the maps of the part's channels alone. */
static inline __attribute__((always_inline)) void
qlinear_conv_bias_gradient_i8(int32_t part, int32_t count, int32_t positions,
                              const float *restrict gy, const float *restrict factor,
                              const learner_i16 *learner)
{
    for (int32_t m = part * count; m < (part + 1) * count; m++) {
        float sum = 0.0f;
        for (int32_t p = 0; p < positions; p++) {
            sum += *gy++;
        }
        learner_take_i16(learner, m, factor[m] * sum);
    }
}

#endif
