/* nRF52840: regions of flash, of pages of 4096 bytes and words of 4.
 *
 * The processor stalls while the flash is busy (a page takes 85 ms to erase, a word 41 us to
 * write; Product Specification, NVMC); EasyDMA goes on receiving meanwhile. */

#include <stdint.h>
#include <string.h>

#include "nrf52840_registers.h"
#include "port.h"

enum { PAGE = 4096, READY_POLLS = 10000000 };

#define ERASED 0xFFFFFFFFu

static const struct {
    uint32_t start, bytes;
} regions[PORT_REGIONS] = TINYODL_FLASH_REGIONS;

static volatile uint32_t *word_at(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

uint32_t port_flash_bytes(uint32_t region)
{
    return regions[region].bytes;
}

const uint8_t *port_flash(uint32_t region)
{
    return (const uint8_t *)(uintptr_t)regions[region].start;
}

static void wait_until_ready(void)
{
    for (uint32_t i = 0; i < READY_POLLS && (NVMC_READY & NVMC_READY__READY) == 0; i++) {
    }
}

static void set_mode(uint32_t mode)
{
    NVMC_CONFIG = mode;
    __asm__ volatile("dsb\n isb" ::: "memory");
}

static int is_erased(uint32_t address)
{
    for (uint32_t end = address + PAGE; address < end; address += 4) {
        if (*word_at(address) != ERASED) {
            return 0;
        }
    }
    return 1;
}

/* Pages that are blank already are left alone: a small network erases in 85 ms, not in 3 s. */
int port_flash_erase(uint32_t region)
{
    if (region >= PORT_REGIONS || regions[region].bytes == 0) {
        return PORT_FLASH_RANGE;
    }
    uint32_t end = regions[region].start + regions[region].bytes;
    for (uint32_t page = regions[region].start; page < end; page += PAGE) {
        if (is_erased(page)) {
            continue;
        }
        set_mode(NVMC_CONFIG__WEN__EEN);
        NVMC_ERASEPAGE = page;
        wait_until_ready();
        set_mode(NVMC_CONFIG__WEN__REN);
        if (!is_erased(page)) {
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
    uint32_t start = regions[region].start + offset;
    int result = PORT_FLASH_OK;
    set_mode(NVMC_CONFIG__WEN__WEN);
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t word;
        memcpy(&word, (const uint8_t *)from + i, sizeof word);
        *word_at(start + i) = word;
        wait_until_ready();
    }
    set_mode(NVMC_CONFIG__WEN__REN);
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t word;
        memcpy(&word, (const uint8_t *)from + i, sizeof word);
        if (*word_at(start + i) != word) {
            result = PORT_FLASH_FAILED;
        }
    }
    return result;
}
