/* Walking over the elements of a tensor in an order that is not its own. */
#ifndef TINYODL_STRIDES_H
#define TINYODL_STRIDES_H

#include <stdint.h>

/* Where element `i` of a block of three axes lies, when the block is counted row by row and a step
 * along an axis is `stride` elements long. Sizes of 1 cost nothing once the compiler sees them. */
static inline __attribute__((always_inline)) int32_t place_in_shape(const int32_t size[3],
                                                                    const int32_t stride[3],
                                                                    int32_t i)
{
    return i / (size[1] * size[2]) * stride[0] + i / size[2] % size[1] * stride[1] +
           i % size[2] * stride[2];
}

static inline __attribute__((always_inline)) int32_t elements_of_shape(const int32_t size[3])
{
    return size[0] * size[1] * size[2];
}

#endif
