/* How two operands a and b are stretched over an output, and a walk over its rows.
 *
 * Adjacent axes that both operands walk alike are one axis here, so tensors of equal shape have one
 * axis, and a row of the last axis is as long as it can be.
 */
#ifndef TINYODL_BROADCAST_H
#define TINYODL_BROADCAST_H

#include <stdint.h>

enum { BROADCAST_AXES = 6 };

typedef struct {
    int32_t axes;                 /* in use; the last one runs fastest */
    int32_t size[BROADCAST_AXES]; /* of the output */
    int32_t a[BROADCAST_AXES];    /* elements of a from one index to the next; 0 where a repeats */
    int32_t b[BROADCAST_AXES];
} broadcast_shape;

/* Where a row begins: the index on the axes before the last, and the offsets in a and b. */
typedef struct {
    int32_t index[BROADCAST_AXES];
    int32_t a, b;
} broadcast_row;

/* Length of a row, and the steps of a and b along it. */
static inline int32_t row_size(const broadcast_shape *s)
{
    return s->size[s->axes - 1];
}

static inline int32_t row_step_a(const broadcast_shape *s)
{
    return s->a[s->axes - 1];
}

static inline int32_t row_step_b(const broadcast_shape *s)
{
    return s->b[s->axes - 1];
}

/* Move on to the next row; 0 after the last one. */
static inline int broadcast_next(const broadcast_shape *s, broadcast_row *row)
{
    for (int32_t axis = s->axes - 2; axis >= 0; axis--) {
        row->a += s->a[axis];
        row->b += s->b[axis];
        row->index[axis] += 1;
        if (row->index[axis] < s->size[axis]) {
            return 1;
        }
        row->a -= s->a[axis] * s->size[axis];
        row->b -= s->b[axis] * s->size[axis];
        row->index[axis] = 0;
    }
    return 0;
}

#endif
