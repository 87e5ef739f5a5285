/* The geometry of an int8 convolution, and where its weights lie.
 *
 * w holds `filters` filters of `columns` input channels each: all of them; or, where only some learn,
 * those, while the others lie in `rest`:
 *
 *   some filters   rest (out_channels - filters, in_group, kh, kw); filter i of w and then rest makes
 *                  output channel out_order[i]
 *   some columns   rest (out_channels, in_group - columns, kh, kw); column i of w and then rest reads
 *                  input channel in_order[i]
 *
 * with in_group = in_channels / groups. An order that is NULL is 0, 1, 2, ...
 */
#ifndef TINYODL_QLINEAR_CONV_SHAPE_H
#define TINYODL_QLINEAR_CONV_SHAPE_H

#include <stddef.h>
#include <stdint.h>

#include "conv_shape.h"

typedef struct {
    int32_t in_channels, in_height, in_width;
    int32_t out_channels, out_height, out_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t pad_top, pad_left;
    int32_t dilation_height, dilation_width;
    int32_t groups;
    int32_t filters, columns;
} qlinear_conv_shape;

/* A filter: the output channel that it makes, and its columns, the first of them in w. */
typedef struct {
    int32_t channel;
    const int8_t *w;
    const int8_t *rest;
} conv_filter;

static inline __attribute__((always_inline)) conv_filter
filter_at(const qlinear_conv_shape *s, int32_t i, const int8_t *w, const int8_t *rest,
          const uint16_t *out_order)
{
    const int32_t taps = s->kernel_height * s->kernel_width;
    const int32_t others = s->in_channels / s->groups - s->columns;
    conv_filter f = {out_order ? out_order[i] : i, NULL, NULL};

    if (i < s->filters) {
        f.w = w + i * s->columns * taps;
    } else {
        f.w = rest + (i - s->filters) * s->columns * taps;
    }
    if (others > 0) {
        f.rest = rest + i * others * taps;
    }
    return f;
}

/* The taps of a filter's column c. */
static inline __attribute__((always_inline)) const int8_t *
column_at(const qlinear_conv_shape *s, const conv_filter *f, int32_t c)
{
    const int32_t taps = s->kernel_height * s->kernel_width;
    return c < s->columns ? f->w + c * taps : f->rest + (c - s->columns) * taps;
}

/* The input channel that column c of the filter for an output channel reads. */
static inline __attribute__((always_inline)) int32_t
channel_read(const qlinear_conv_shape *s, int32_t out_channel, int32_t c, const uint16_t *in_order)
{
    const int32_t group = out_channel / (s->out_channels / s->groups);
    return group * (s->in_channels / s->groups) + (in_order ? in_order[c] : c);
}

#endif
