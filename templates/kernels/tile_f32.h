/* Tiles of sums that stay in registers while their terms are added: what float32 kernels are made of.
 *
 * A tile is rows x columns sums. A term of each is the product of a factor of its row and one of its
 * column, so rows + columns loads serve rows * columns products: on a Cortex-M4F a load takes as long
 * as a product and its addition. No sum waits for another, and each adds its own terms in the order of
 * its kernel's formula, so that tiles of any size give the same bits.
 *
 * All counts are constants at the call. Then nothing is left of the conditions, and the arrays are
 * registers: 32 hold the sums of 4 x 4 or 1 x 8, the factors of a term and some products.
 */
#ifndef TINYODL_TILE_F32_H
#define TINYODL_TILE_F32_H

#include <stddef.h>
#include <stdint.h>

#define TILE_INLINE static inline __attribute__((always_inline))

enum { TILE_ROWS = 4, TILE_LANES = 8 };

/* Between terms that are written out: GCC would load the factors of all of them first, and run out of
 * registers. */
TILE_INLINE void tile_rest(void)
{
    __asm__ volatile("");
}

/* The same address. GCC 12 takes the end of an array for the end of a loop whose range it does not
 * know, and then warns of the turn that never comes: it shall not know which array this is. */
TILE_INLINE const float *any_array(const float *at)
{
    __asm__("" : "+r"(at));
    return at;
}

/// Lanes: up to 8 numbers side by side ///

TILE_INLINE void lanes_load(int32_t count, float *x, const float *from, int32_t step)
{
    if (count > 0) x[0] = from[0];
    if (count > 1) x[1] = from[step];
    if (count > 2) x[2] = from[2 * step];
    if (count > 3) x[3] = from[3 * step];
    if (count > 4) x[4] = from[4 * step];
    if (count > 5) x[5] = from[5 * step];
    if (count > 6) x[6] = from[6 * step];
    if (count > 7) x[7] = from[7 * step];
}

TILE_INLINE void lanes_store(int32_t count, const float *x, float *to, int32_t step)
{
    if (count > 0) to[0] = x[0];
    if (count > 1) to[step] = x[1];
    if (count > 2) to[2 * step] = x[2];
    if (count > 3) to[3 * step] = x[3];
    if (count > 4) to[4 * step] = x[4];
    if (count > 5) to[5 * step] = x[5];
    if (count > 6) to[6 * step] = x[6];
    if (count > 7) to[7 * step] = x[7];
}

/* x[i] = start[i * step], or 0 where there is no start */
TILE_INLINE void lanes_start(int32_t count, float *x, const float *start, int32_t step)
{
    static const float zero = 0.0f;

    lanes_load(count, x, start ? start : &zero, start ? step : 0);
}

TILE_INLINE void lanes_scale(int32_t count, float *x, float factor)
{
    if (count > 0) x[0] *= factor;
    if (count > 1) x[1] *= factor;
    if (count > 2) x[2] *= factor;
    if (count > 3) x[3] *= factor;
    if (count > 4) x[4] *= factor;
    if (count > 5) x[5] *= factor;
    if (count > 6) x[6] *= factor;
    if (count > 7) x[7] *= factor;
}

/* sum[i] += factor * x[i] */
TILE_INLINE void lanes_add(int32_t count, float *sum, float factor, const float *x)
{
    if (count > 0) sum[0] += factor * x[0];
    if (count > 1) sum[1] += factor * x[1];
    if (count > 2) sum[2] += factor * x[2];
    if (count > 3) sum[3] += factor * x[3];
    if (count > 4) sum[4] += factor * x[4];
    if (count > 5) sum[5] += factor * x[5];
    if (count > 6) sum[6] += factor * x[6];
    if (count > 7) sum[7] += factor * x[7];
}

/* to[i * step] += factor * x[i] */
TILE_INLINE void lanes_add_to(int32_t count, float *to, int32_t step, float factor, const float *x)
{
    float sums[TILE_LANES];

    lanes_load(count, sums, to, step);
    lanes_add(count, sums, factor, x);
    lanes_store(count, sums, to, step);
}

/* sum += a[0] * b[0], then a[1] * b[1], and so on */
TILE_INLINE void lanes_sum(int32_t count, float *sum, const float *a, const float *b)
{
    if (count > 0) *sum += a[0] * b[0];
    if (count > 1) *sum += a[1] * b[1];
    if (count > 2) *sum += a[2] * b[2];
    if (count > 3) *sum += a[3] * b[3];
    if (count > 4) *sum += a[4] * b[4];
    if (count > 5) *sum += a[5] * b[5];
    if (count > 6) *sum += a[6] * b[6];
    if (count > 7) *sum += a[7] * b[7];
}

/// How many at a time ///

/* The better of two numbers of lanes: the one with less work in all turns together. */
TILE_INLINE int32_t better_lanes(int32_t count, int32_t most, int32_t a, int32_t b)
{
    const int32_t with_a = (count + a - 1) / a * (a + 1), with_b = (count + b - 1) / b * (b + 1);

    return b <= most && with_b <= with_a ? b : a;
}

/* How many of `count` lanes, at most `most`, to take in a turn. The last turn is moved back so that
 * it ends with the last lane; it does again what it meets twice. */
TILE_INLINE int32_t lanes_of(int32_t count, int32_t most)
{
    int32_t best = better_lanes(count, most, 1, 2);

    best = better_lanes(count, most, best, 3);
    best = better_lanes(count, most, best, 4);
    best = better_lanes(count, most, best, 5);
    best = better_lanes(count, most, best, 6);
    best = better_lanes(count, most, best, 7);
    return better_lanes(count, most, best, 8);
}

TILE_INLINE int32_t turn_start(int32_t lane, int32_t lanes, int32_t count)
{
    return lane < count - lanes ? lane : count - lanes;
}

/// Tiles: up to 4 rows of lanes ///

typedef struct {
    float row[TILE_ROWS][TILE_LANES];
} tile_f32;

/* tile[i, j] = start[i * row_step + j * column_step], or 0 where there is no start */
TILE_INLINE void tile_start(int32_t rows, int32_t columns, tile_f32 *tile, const float *start,
                            int32_t row_step, int32_t column_step)
{
    const int32_t step = start ? row_step : 0;

    lanes_start(columns, tile->row[0], start, column_step);
    if (rows > 1) lanes_start(columns, tile->row[1], start + step, column_step);
    if (rows > 2) lanes_start(columns, tile->row[2], start + 2 * step, column_step);
    if (rows > 3) lanes_start(columns, tile->row[3], start + 3 * step, column_step);
}

/* tile[i, j] += of_rows[i] * of_columns[j] */
TILE_INLINE void tile_add(int32_t rows, int32_t columns, tile_f32 *tile, const float *of_rows,
                          const float *of_columns)
{
    lanes_add(columns, tile->row[0], of_rows[0], of_columns);
    if (rows > 1) lanes_add(columns, tile->row[1], of_rows[1], of_columns);
    if (rows > 2) lanes_add(columns, tile->row[2], of_rows[2], of_columns);
    if (rows > 3) lanes_add(columns, tile->row[3], of_rows[3], of_columns);
}

TILE_INLINE void tile_scale(int32_t rows, int32_t columns, tile_f32 *tile, float factor)
{
    lanes_scale(columns, tile->row[0], factor);
    if (rows > 1) lanes_scale(columns, tile->row[1], factor);
    if (rows > 2) lanes_scale(columns, tile->row[2], factor);
    if (rows > 3) lanes_scale(columns, tile->row[3], factor);
}

/* to[i * row_step + j * column_step] = tile[i, j] */
TILE_INLINE void tile_store(int32_t rows, int32_t columns, const tile_f32 *tile, float *to,
                            int32_t row_step, int32_t column_step)
{
    lanes_store(columns, tile->row[0], to, column_step);
    if (rows > 1) lanes_store(columns, tile->row[1], to + row_step, column_step);
    if (rows > 2) lanes_store(columns, tile->row[2], to + 2 * row_step, column_step);
    if (rows > 3) lanes_store(columns, tile->row[3], to + 3 * row_step, column_step);
}

#endif
