/* The regions of flash that the firmware writes: what all chips do alike. */

#include <stdint.h>
#include <string.h>

#include "cortex_m4.h"
#include "port.h"

#define ERASED 0xFFFFFFFFu

static const struct {
    uint32_t start, bytes;
} regions[PORT_REGIONS] = TINYODL_FLASH_REGIONS;

static volatile uint32_t *word_at(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

static uint32_t word_of(const void *from, uint32_t offset)
{
    uint32_t word;
    memcpy(&word, (const uint8_t *)from + offset, sizeof word);
    return word;
}

uint32_t port_flash_bytes(uint32_t region)
{
    return regions[region].bytes;
}

const uint8_t *port_flash(uint32_t region)
{
    return (const uint8_t *)(uintptr_t)regions[region].start;
}

/* Asked each time, and of the chip: a boot loader that the board's file does not know of must not be
 * erased, for only a debug probe would bring the board back. */
uint32_t port_flash_boot_loader(void)
{
    uint32_t found = PORT_NO_BOOT_LOADER;
    for (uint32_t i = 0; i < PORT_REGIONS && found == PORT_NO_BOOT_LOADER; i++) {
        if (regions[i].bytes > 0) {
            found = flash_boot_loader(regions[i].start, regions[i].start + regions[i].bytes);
        }
    }
    return found;
}

static int is_taken(void)
{
    return port_flash_boot_loader() != PORT_NO_BOOT_LOADER;
}

static int is_erased(uint32_t unit)
{
    for (uint32_t offset = 0; offset < TINYODL_ERASE_BYTES; offset += 4) {
        if (*word_at(unit + offset) != ERASED) {
            return 0;
        }
    }
    return 1;
}

/* Units that are blank already are left alone: a small network on an nRF52840 erases in 85 ms, not
 * in 3 s. */
int port_flash_erase(uint32_t region)
{
    if (region >= PORT_REGIONS || regions[region].bytes == 0) {
        return PORT_FLASH_RANGE;
    }
    if (is_taken()) {
        return PORT_FLASH_TAKEN;
    }
    const uint32_t end = regions[region].start + regions[region].bytes;
    for (uint32_t unit = regions[region].start; unit < end; unit += TINYODL_ERASE_BYTES) {
        if (is_erased(unit)) {
            continue;
        }
        flash_erase_unit(unit);
        if (!is_erased(unit)) {
            return PORT_FLASH_FAILED;
        }
    }
    return PORT_FLASH_OK;
}

int port_flash_write(uint32_t region, uint32_t offset, const void *from, uint32_t count)
{
    if (region >= PORT_REGIONS || (offset | count) % 4 != 0 || offset > regions[region].bytes ||
        count > regions[region].bytes - offset) {
        return PORT_FLASH_RANGE;
    }
    if (is_taken()) {
        return PORT_FLASH_TAKEN;
    }
    const uint32_t start = regions[region].start + offset;
    flash_program_begin();
    for (uint32_t i = 0; i < count; i += 4) {
        flash_program_word(word_at(start + i), word_of(from, i));
    }
    flash_program_end();
    for (uint32_t i = 0; i < count; i += 4) {
        if (*word_at(start + i) != word_of(from, i)) {
            return PORT_FLASH_FAILED;
        }
    }
    return PORT_FLASH_OK;
}
