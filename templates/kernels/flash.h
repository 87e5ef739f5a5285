/* The network's own regions of flash. A region is erased as a whole, to bytes of 0xFF, and each of its
 * words is written once. It begins with
 *
 *   0  u32 its content, written last: a region without it must be erased
 *   4  u32 a number that identifies this format
 *   8  u8  model_id[8]
 */
#ifndef TINYODL_FLASH_H
#define TINYODL_FLASH_H

#include <stdint.h>
#include <string.h>

enum { FLASH_FEATURES, FLASH_BEST }; /* regions */
enum { FLASH_FORM = 4, FLASH_MODEL = 8, FLASH_HEADER = 16 };

/// Provided by lib/device ///

const uint8_t *flash_at(uint32_t region);
/* Each returns 0, or a negative number if the flash has other bytes afterwards. Offset and count are
 * multiples of 4. */
int flash_write(uint32_t region, uint32_t offset, const void *from, uint32_t count);
int flash_erase(uint32_t region);

/// On top of it ///

static inline uint32_t flash_word(const uint8_t *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline int flash_holds(uint32_t region, uint32_t what, uint32_t form, const uint8_t *model)
{
    const uint8_t *at = flash_at(region);
    return flash_word(at) == what && flash_word(at + FLASH_FORM) == form &&
           memcmp(at + FLASH_MODEL, model, FLASH_HEADER - FLASH_MODEL) == 0;
}

/* Erased, with all of the header but what is in it. */
static inline int flash_begin(uint32_t region, uint32_t form, const uint8_t *model)
{
    if (flash_erase(region) < 0 || flash_write(region, FLASH_FORM, &form, sizeof form) < 0) {
        return -1;
    }
    return flash_write(region, FLASH_MODEL, model, FLASH_HEADER - FLASH_MODEL);
}

static inline int flash_end(uint32_t region, uint32_t what)
{
    return flash_write(region, 0, &what, sizeof what);
}

/* Any number of bytes; the rest of their last word is zeros. */
static inline int flash_put(uint32_t region, uint32_t offset, const void *from, uint32_t bytes)
{
    const uint32_t whole = bytes & ~3u;
    uint32_t last = 0;
    if (whole > 0 && flash_write(region, offset, from, whole) < 0) {
        return -1;
    }
    if (whole == bytes) {
        return 0;
    }
    memcpy(&last, (const uint8_t *)from + whole, bytes - whole);
    return flash_write(region, offset + whole, &last, sizeof last);
}

#endif
