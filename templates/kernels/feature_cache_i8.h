/* Features of samples, kept in int8 so that the network's last layers learn from them again.
 *
 * There are `slots` slots of n features; slots 0 to held - 1 are in use, each with its label. Int8
 * features are kept as they are, float32 ones as q = round(x / scale) with scale = max |x| / 127,
 * which lies in the slot's element of `scales`. `sequence` is a permutation of the slots in use.
 *
 * What is kept of labels and counts is taken with care: a host may have written anything there.
 */
#ifndef TINYODL_FEATURE_CACHE_I8_H
#define TINYODL_FEATURE_CACHE_I8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ageing.h"
#include "quantize.h"

/* The elements of `books`. Of each class there are two: samples that have come, and slots. */
enum { CACHE_SEEN, CACHE_HELD, CACHE_RANDOM, CACHE_DRAWN /* in this epoch */, CACHE_CLASSES };

/* Which sample makes room for another one; and in which order samples are drawn. */
enum { CACHE_RING, CACHE_RESERVOIR, CACHE_BALANCED, CACHE_FIRST, CACHE_AGEING };
enum { DRAW_EPOCHS, DRAW_UNIFORM, DRAW_BALANCED, DRAW_ORDERS };

/// Chance ///

/* From 0 to n - 1, by xorshift32 (Marsaglia, 2003), whose state is never 0. */
static inline uint32_t cache_below(uint32_t n, int32_t *books)
{
    uint32_t r = (uint32_t)books[CACHE_RANDOM];
    r = r ? r : 1;
    r ^= r << 13;
    r ^= r >> 17;
    r ^= r << 5;
    books[CACHE_RANDOM] = (int32_t)r;
    return (uint32_t)(((uint64_t)r * n) >> 32);
}

/// What is there ///

static inline uint32_t cache_held(uint32_t slots, const int32_t *books)
{
    const uint32_t held = (uint32_t)books[CACHE_HELD];
    return held < slots ? held : slots;
}

static inline int32_t *cache_seen_of(uint32_t label, int32_t *books)
{
    return &books[CACHE_CLASSES + 2 * label];
}

static inline int32_t *cache_held_of(uint32_t label, int32_t *books)
{
    return &books[CACHE_CLASSES + 2 * label + 1];
}

static inline void cache_count(int32_t *number, int32_t more)
{
    *number = (int32_t)((uint32_t)*number + (uint32_t)more);
}

static inline int32_t cache_label(int32_t classes, int32_t slot, const int16_t *labels)
{
    return labels[slot] >= 0 && labels[slot] < classes ? labels[slot] : 0;
}

/* The slot of the n-th sample of a class. */
static inline int32_t cache_find(uint32_t held, int32_t label, uint32_t n, const int16_t *labels)
{
    int32_t found = 0;
    for (uint32_t slot = 0; slot < held; slot++) {
        if (labels[slot] == label) {
            found = (int32_t)slot;
            if (n-- == 0) {
                break;
            }
        }
    }
    return found;
}

/// Keeping ///

/* The slot for a sample of this class when all are in use, or -1.
 *
 * First: none. Ring: the oldest sample's. Reservoir (Vitter 1985): all samples so far are kept with
 * equal chance. Balanced (Chrysakis and Moens 2020): the class with most slots gives one to a class
 * with fewer, and within a class all samples are kept with equal chance. Ageing: like balanced between
 * classes, within a class as in ageing.h. */
static inline int32_t cache_room(int32_t policy, uint32_t slots, int32_t classes, int32_t label,
                                 const int16_t *labels, int32_t *books)
{
    const uint32_t seen = (uint32_t)books[CACHE_SEEN];
    if (policy == CACHE_FIRST) {
        return -1;
    }
    if (policy == CACHE_RING) {
        return (int32_t)((seen - 1) % slots);
    }
    if (policy == CACHE_RESERVOIR) {
        const uint32_t place = cache_below(seen, books);
        return place < slots ? (int32_t)place : -1;
    }
    int32_t largest = 0;
    for (int32_t c = 1; c < classes; c++) {
        if (*cache_held_of((uint32_t)c, books) > *cache_held_of((uint32_t)largest, books)) {
            largest = c;
        }
    }
    const int32_t most = *cache_held_of((uint32_t)largest, books);
    const int32_t own = *cache_held_of((uint32_t)label, books);
    if (own < most) {
        return cache_find(slots, largest, cache_below((uint32_t)most, books), labels);
    }
    const uint32_t came = (uint32_t)*cache_seen_of((uint32_t)label, books), n = (uint32_t)own;
    int32_t place;
    if (policy == CACHE_AGEING) {
        place = n ? ageing_place(n, came, cache_below(ageing_chance(n, came), books)) : -1;
    } else {
        place = (int32_t)cache_below(came, books);
        place = (uint32_t)place < n ? place : -1;
    }
    return place >= 0 ? cache_find(slots, label, (uint32_t)place, labels) : -1;
}

/* Where the sample goes that has come, or -1: then it is not kept. */
static inline int32_t cache_slot(int32_t policy, uint32_t slots, int32_t classes, int32_t label,
                                 int16_t *labels, int16_t *sequence, int32_t *books)
{
    const uint32_t held = cache_held(slots, books);
    int32_t slot = (int32_t)held;
    cache_count(&books[CACHE_SEEN], 1);
    cache_count(cache_seen_of((uint32_t)label, books), 1);
    if (held < slots) {
        sequence[slot] = (int16_t)slot;
        books[CACHE_HELD] = (int32_t)held + 1;
    } else {
        slot = cache_room(policy, slots, classes, label, labels, books);
        if (slot < 0) {
            return -1;
        }
        cache_count(cache_held_of((uint32_t)cache_label(classes, slot, labels), books), -1);
    }
    cache_count(cache_held_of((uint32_t)label, books), 1);
    labels[slot] = (int16_t)label;
    return slot;
}

static inline float cache_scale_f32(int32_t n, const float *x)
{
    float most = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        const float size = x[i] < 0.0f ? -x[i] : x[i];
        most = size > most ? size : most;
    }
    return most / 127.0f;
}

static inline void cache_quantize_f32(int32_t n, float scale, const float *x, int8_t *q)
{
    for (int32_t i = 0; i < n; i++) {
        q[i] = scale > 0.0f ? (int8_t)quantize_f32(x[i] / scale, -127.0f, 127.0f) : 0;
    }
}

static inline void cache_keep_i8(int32_t n, int32_t policy, int32_t slots, int32_t classes,
                                 int32_t label, const int8_t *x, int8_t *kept, int16_t *labels,
                                 int16_t *sequence, int32_t *books)
{
    const int32_t slot =
        cache_slot(policy, (uint32_t)slots, classes, label, labels, sequence, books);
    if (slot >= 0) {
        memcpy(kept + slot * n, x, (uint32_t)n);
    }
}

static inline void cache_keep_f32(int32_t n, int32_t policy, int32_t slots, int32_t classes,
                                  int32_t label, const float *x, int8_t *kept, int16_t *labels,
                                  int16_t *sequence, int32_t *books, float *scales)
{
    const int32_t slot =
        cache_slot(policy, (uint32_t)slots, classes, label, labels, sequence, books);
    if (slot >= 0) {
        scales[slot] = cache_scale_f32(n, x);
        cache_quantize_f32(n, scales[slot], x, kept + slot * n);
    }
}

/// Recalling ///

static inline void cache_recall_i8(int32_t n, int32_t slot, const int8_t *kept, int8_t *x)
{
    memcpy(x, kept + slot * n, (uint32_t)n);
}

static inline void cache_recall_f32(int32_t n, int32_t slot, const int8_t *kept,
                                    const float *scales, float *x)
{
    for (int32_t i = 0; i < n; i++) {
        x[i] = (float)kept[slot * n + i] * scales[slot];
    }
}

/// Drawing ///

/* Whether the next draw begins an epoch. */
static inline int cache_epoch_ends(uint32_t slots, const int32_t *books)
{
    return (uint32_t)books[CACHE_DRAWN] >= cache_held(slots, books);
}

/* The next of a permutation that is made as it is drawn (Fisher and Yates); below `most`. */
static inline int32_t cache_draw_next(uint32_t slots, uint32_t most, int16_t *sequence,
                                      int32_t *books)
{
    const uint32_t held = cache_held(slots, books);
    const uint32_t drawn = cache_epoch_ends(slots, books) ? 0 : (uint32_t)books[CACHE_DRAWN];
    const uint32_t at = drawn + cache_below(held - drawn, books);
    const int16_t slot = sequence[at];
    sequence[at] = sequence[drawn];
    sequence[drawn] = slot;
    books[CACHE_DRAWN] = (int32_t)drawn + 1;
    return (uint32_t)slot < most ? slot : 0;
}

/* Any sample of any class, in one of the first slots: each class there with the same chance. */
static inline int32_t cache_draw_balanced(uint32_t first, int32_t classes, const int16_t *labels,
                                          int32_t *books)
{
    int32_t there = 0;
    for (int32_t c = 0; c < classes; c++) {
        there += *cache_held_of((uint32_t)c, books) > 0;
    }
    int32_t left = (int32_t)cache_below((uint32_t)there, books);
    int32_t label = 0;
    for (int32_t c = 0; c < classes; c++) {
        if (*cache_held_of((uint32_t)c, books) > 0 && left-- == 0) {
            label = c;
        }
    }
    const uint32_t n = cache_below((uint32_t)*cache_held_of((uint32_t)label, books), books);
    return cache_find(first, label, n, labels);
}

/* A slot in use, of which there is at least one. */
static inline int32_t cache_draw(uint32_t order, int32_t slots, int32_t classes,
                                 const int16_t *labels, int16_t *sequence, int32_t *books)
{
    const uint32_t held = cache_held((uint32_t)slots, books);
    if (order == DRAW_EPOCHS) {
        return cache_draw_next((uint32_t)slots, held, sequence, books);
    }
    if (order == DRAW_UNIFORM) {
        return (int32_t)cache_below(held, books);
    }
    return cache_draw_balanced(held, classes, labels, books);
}

#endif
