/* Flash that the network keeps something in: regions that are erased as a whole, to bytes of 0xFF,
 * and of which every word is written once. Provided by lib/device. */
#ifndef TINYODL_FLASH_H
#define TINYODL_FLASH_H

#include <stdint.h>
#include <string.h>

enum { FLASH_FEATURES, FLASH_BEST }; /* regions */

const uint8_t *flash_at(uint32_t region);
/* Each returns 0, or what is negative where the flash does not hold what it was to hold. Offset and
 * count are multiples of 4. */
int flash_write(uint32_t region, uint32_t offset, const void *from, uint32_t count);
int flash_erase(uint32_t region);

static inline uint32_t flash_word(const uint8_t *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

#endif
