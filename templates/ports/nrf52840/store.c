/* nRF52840: the weight store in flash, pages of 4096 bytes, words of 4.
 *
 * The processor stalls while the flash is busy (a page takes 85 ms to erase, a word 41 us to
 * write; Product Specification, NVMC); EasyDMA goes on receiving meanwhile. */

#include <stdint.h>
#include <string.h>

#include "nrf52840_registers.h"
#include "port.h"

enum { PAGE = 4096, READY_POLLS = 10000000 };

#define ERASED 0xFFFFFFFFu

static uint32_t slot_address(uint32_t slot)
{
    return slot == 0 ? TINYODL_STORE_SLOT_0 : TINYODL_STORE_SLOT_1;
}

static volatile uint32_t *word_at(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

uint32_t port_store_bytes(void)
{
    return TINYODL_STORE_SLOT_BYTES;
}

const uint8_t *port_store_slot(uint32_t slot)
{
    return (const uint8_t *)(uintptr_t)slot_address(slot);
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
int port_store_erase(uint32_t slot)
{
    if (slot > 1) {
        return PORT_STORE_RANGE;
    }
    uint32_t start = slot_address(slot);
    for (uint32_t page = start; page < start + TINYODL_STORE_SLOT_BYTES; page += PAGE) {
        if (is_erased(page)) {
            continue;
        }
        set_mode(NVMC_CONFIG__WEN__EEN);
        NVMC_ERASEPAGE = page;
        wait_until_ready();
        set_mode(NVMC_CONFIG__WEN__REN);
        if (!is_erased(page)) {
            return PORT_STORE_FAILED;
        }
    }
    return PORT_STORE_OK;
}

int port_store_write(uint32_t slot, uint32_t offset, const void *from, uint32_t count)
{
    if (slot > 1 || (offset | count) % 4 != 0 || offset > TINYODL_STORE_SLOT_BYTES ||
        count > TINYODL_STORE_SLOT_BYTES - offset) {
        return PORT_STORE_RANGE;
    }
    uint32_t start = slot_address(slot) + offset;
    int result = PORT_STORE_OK;
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
            result = PORT_STORE_FAILED;
        }
    }
    return result;
}
