/* The cache of feature_cache_i8.h in flash: a sample is written once, and nothing is written over.
 *
 *   0  the header of flash.h: "TODF", bytes of a record
 *  16  records, one for each slot:
 *        u32 label, and in the upper half its complement; written last
 *        f32 scale, where the features are float32
 *        i8  features, to a multiple of 4
 *
 * Labels, sequence and books are in RAM, made from what is in flash at every start. A record whose
 * writing was cut off has no label, and its slot is lost, unless the same sample comes again after a
 * return to an earlier state: then its writing is finished.
 */
#ifndef TINYODL_FEATURE_FLASH_I8_H
#define TINYODL_FEATURE_FLASH_I8_H

#include <stdint.h>
#include <string.h>

#include "feature_cache_i8.h"
#include "flash.h"

enum { FEATURES = 0x46444f54 /* "TODF" */, FEATURES_PIECE = 64 };

#define FLASH_FREE 0xffffffffu

static inline const uint8_t *features_record(int32_t slot, int32_t record)
{
    return flash_at(FLASH_FEATURES) + FLASH_HEADER + slot * record;
}

/* How many slots were begun is behind all other elements of the books. */
static inline int32_t *features_begun(int32_t classes, int32_t *books)
{
    return &books[CACHE_CLASSES + 2 * classes];
}

/// What is in flash ///

static inline int features_free(const uint8_t *at, int32_t record)
{
    for (int32_t i = 0; i < record; i += 4) {
        if (flash_word(at + i) != FLASH_FREE) {
            return 0;
        }
    }
    return 1;
}

/* The label of a record, or -1. */
static inline int32_t features_label(const uint8_t *at, int32_t classes)
{
    const uint32_t mark = flash_word(at), label = mark & 0xffffu;
    return (mark ^ 0xffff0000u) >> 16 == label && label < (uint32_t)classes ? (int32_t)label : -1;
}

/* A sample of this class that is now in the slot. */
static inline void features_count(int32_t slot, int32_t label, int16_t *labels, int16_t *sequence,
                                  int32_t *books)
{
    labels[slot] = (int16_t)label;
    sequence[books[CACHE_HELD]] = (int16_t)slot;
    cache_count(&books[CACHE_HELD], 1);
    cache_count(cache_held_of((uint32_t)label, books), 1);
}

/* Labels, sequence and books, from the records that are there. */
static inline void features_find(int32_t slots, int32_t record, int32_t classes,
                                 const uint8_t *model, int16_t *labels, int16_t *sequence,
                                 int32_t *books)
{
    const int known = flash_holds(FLASH_FEATURES, FEATURES, (uint32_t)record, model);

    books[CACHE_HELD] = books[CACHE_DRAWN] = *features_begun(classes, books) = 0;
    for (int32_t c = 0; c < classes; c++) {
        *cache_held_of((uint32_t)c, books) = 0;
    }
    for (int32_t slot = 0; slot < slots; slot++) {
        const uint8_t *at = features_record(slot, record);
        labels[slot] = -1;
        if (known && !features_free(at, record)) {
            const int32_t label = features_label(at, classes);
            *features_begun(classes, books) = slot + 1;
            if (label >= 0) {
                features_count(slot, label, labels, sequence, books);
            }
        }
    }
}

/* Whether flash has the samples named by the labels and books of a restored state. */
static inline int features_hold(int32_t slots, int32_t record, int32_t classes,
                                const uint8_t *model, const int16_t *labels,
                                const int16_t *sequence, int32_t *books)
{
    const int32_t begun = *features_begun(classes, books);
    int same = begun >= 0 && begun <= slots;

    (void)sequence;
    for (int32_t slot = 0; same && slot < begun; slot++) {
        same = features_label(features_record(slot, record), classes) == labels[slot];
    }
    return same && (begun == 0 || flash_holds(FLASH_FEATURES, FEATURES, (uint32_t)record, model));
}

/// Keeping ///

static inline int features_begin(int32_t record, const uint8_t *model)
{
    if (flash_holds(FLASH_FEATURES, FEATURES, (uint32_t)record, model)) {
        return 0;
    }
    return flash_begin(FLASH_FEATURES, (uint32_t)record, model) < 0
               ? -1
               : flash_end(FLASH_FEATURES, FEATURES);
}

/* The slot for a sample that has come, or -1: then it is not kept. First: as long as there is room.
 * Balanced: as long as its class has fewer than an equal share of the slots. */
static inline int32_t features_slot(int32_t policy, int32_t slots, int32_t classes, int32_t label,
                                    int32_t *books)
{
    const int32_t begun = *features_begun(classes, books);
    const int32_t share = policy == CACHE_BALANCED ? slots / classes : slots;

    if (begun < 0 || begun >= slots || *cache_held_of((uint32_t)label, books) >= share) {
        return -1;
    }
    *features_begun(classes, books) = begun + 1;
    return begun;
}

/* Writes what is not there yet, the rest of the last word zeros; or only looks whether it could.
 * Negative where flash failed, or holds something else. */
static inline int features_put(uint32_t offset, const void *from, uint32_t bytes, int only_look)
{
    for (uint32_t done = 0; done < bytes; done += 4) {
        const uint32_t there = flash_word(flash_at(FLASH_FEATURES) + offset + done);
        uint32_t word = 0;
        memcpy(&word, (const uint8_t *)from + done, bytes - done < 4 ? bytes - done : 4);
        if ((there & word) != word) {
            return -1;
        }
        if (!only_look && there != word &&
            flash_write(FLASH_FEATURES, offset + done, &word, sizeof word) < 0) {
            return -1;
        }
    }
    return 0;
}

static inline int features_write(int32_t n, int32_t slot, int32_t record, int32_t label,
                                 const float *real, const int8_t *x, float scale, int only_look)
{
    const uint32_t mark = (uint32_t)label | ~(uint32_t)label << 16;
    const uint32_t start = (uint32_t)(FLASH_HEADER + slot * record);
    uint32_t at = start + sizeof mark;
    int8_t piece[FEATURES_PIECE];
    int failed = 0;

    if (real) {
        failed |= features_put(at, &scale, sizeof scale, only_look);
        at += sizeof scale;
    }
    for (int32_t done = 0; done < n && real; done += FEATURES_PIECE) {
        const int32_t count = n - done < FEATURES_PIECE ? n - done : FEATURES_PIECE;
        cache_quantize_f32(count, scale, real + done, piece);
        failed |= features_put(at + (uint32_t)done, piece, (uint32_t)count, only_look);
    }
    if (!real) {
        failed |= features_put(at, x, (uint32_t)n, only_look);
    }
    return failed ? failed : features_put(start, &mark, sizeof mark, only_look);
}

/* The sample that has come: float32 features, or int8 ones, and the others NULL.
 *
 * After a return to an earlier state flash has records that the books do not know. The same samples
 * come again, and find themselves there, written or written in part. Where another one lies, the host
 * has gone another way: then all records count again. */
static inline void features_keep(int32_t n, int32_t record, int32_t policy, int32_t slots,
                                 int32_t classes, int32_t label, const uint8_t *model,
                                 const float *real, const int8_t *x, int16_t *labels,
                                 int16_t *sequence, int32_t *books, int32_t *failed)
{
    const float scale = real ? cache_scale_f32(n, real) : 0.0f;

    *failed = 0;
    cache_count(&books[CACHE_SEEN], 1);
    cache_count(cache_seen_of((uint32_t)label, books), 1);
    int32_t slot = features_slot(policy, slots, classes, label, books);
    if (slot < 0) {
        return;
    }
    if (features_begin(record, model) < 0) {
        *failed = 1;
        return;
    }
    if (!features_free(features_record(slot, record), record) &&
        features_write(n, slot, record, label, real, x, scale, 1) < 0) {
        features_find(slots, record, classes, model, labels, sequence, books);
        slot = features_slot(policy, slots, classes, label, books);
        if (slot < 0) {
            return;
        }
    }
    if (features_write(n, slot, record, label, real, x, scale, 0) < 0) {
        *failed = 1;
    } else if ((uint32_t)books[CACHE_HELD] < (uint32_t)slots) {
        features_count(slot, label, labels, sequence, books);
    }
}

/// Recalling and drawing ///

static inline void features_recall_i8(int32_t n, int32_t slot, int32_t record, int8_t *x)
{
    memcpy(x, features_record(slot, record) + 4, (uint32_t)n);
}

static inline void features_recall_f32(int32_t n, int32_t slot, int32_t record, float *x)
{
    const uint8_t *at = features_record(slot, record);
    float scale;
    memcpy(&scale, at + 4, sizeof scale);
    cache_recall_f32(n, 0, (const int8_t *)at + 8, &scale, x);
}

/* A slot with a sample, of which there is at least one. */
static inline int32_t features_draw(uint32_t order, int32_t slots, int32_t classes,
                                    const int16_t *labels, int16_t *sequence, int32_t *books)
{
    const uint32_t held = cache_held((uint32_t)slots, books);
    if (order == DRAW_EPOCHS) {
        return cache_draw_next((uint32_t)slots, (uint32_t)slots, sequence, books);
    }
    if (order == DRAW_UNIFORM) {
        const int16_t slot = sequence[cache_below(held, books)];
        return slot >= 0 && slot < slots ? slot : 0;
    }
    return cache_draw_balanced((uint32_t)slots, classes, labels, books);
}

#endif
