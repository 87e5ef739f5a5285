/* STM32F4: regions of flash in the last sectors of 128 KB.
 *
 * Flash has one bank on these chips: while it erases (1 to 2 s, datasheet "Flash memory
 * programming") or writes (16 us a word), the processor waits for its next instruction and serial
 * bytes are lost. That is acceptable, because the host waits for the reply to its request, and
 * saves having to run any code from RAM. RM0090 section 3.6, RM0390 section 3.5.
 */

#include <stdint.h>
#include <string.h>

#include "port.h"
#include "stm32f4_registers.h"

enum {
    FLASH_START = 0x08000000,
    SECTOR = 0x20000,
    FIRST_LARGE_SECTOR = 4, /* four of 16 KB and one of 64 KB fill the first 128 KB */
    BUSY_POLLS = 200000000  /* far over 4 s, the longest a sector may take */
};

#define ERASED 0xFFFFFFFFu
#define ERRORS                                                                                     \
    (FLASH_SR__OPERR | FLASH_SR__WRPERR | FLASH_SR__PGAERR | FLASH_SR__PGPERR | FLASH_SR__PGSERR)

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
    for (uint32_t i = 0; i < BUSY_POLLS && (FLASH_SR & FLASH_SR__BSY) != 0; i++) {
    }
}

/* Clears the errors of earlier operations too: one of them would refuse the next. */
static void unlock(void)
{
    if (FLASH_CR & FLASH_CR__LOCK) {
        FLASH_KEYR = FLASH_KEYR__KEY__1;
        FLASH_KEYR = FLASH_KEYR__KEY__2;
    }
    wait_until_ready();
    FLASH_SR = FLASH_SR__EOP | ERRORS;
}

/* The data cache may hold what the flash held before; it is emptied while it is off. */
static void lock(void)
{
    FLASH_CR = FLASH_CR__LOCK;
    uint32_t access = FLASH_ACR;
    FLASH_ACR = access & ~FLASH_ACR__DCEN;
    FLASH_ACR = (access & ~FLASH_ACR__DCEN) | FLASH_ACR__DCRST;
    FLASH_ACR = access;
    __asm__ volatile("dsb" ::: "memory");
}

static int is_erased(uint32_t start)
{
    for (uint32_t offset = 0; offset < SECTOR; offset += 4) {
        if (*word_at(start + offset) != ERASED) {
            return 0;
        }
    }
    return 1;
}

static int erase_sector(uint32_t start)
{
    if (is_erased(start)) {
        return PORT_FLASH_OK;
    }
    uint32_t sector = FIRST_LARGE_SECTOR + (start - FLASH_START) / SECTOR;
    unlock();
    FLASH_CR = FLASH_CR__SER | sector * FLASH_CR__SNB__1 | FLASH_CR__PSIZE__WORD;
    FLASH_CR |= FLASH_CR__STRT;
    __asm__ volatile("dsb" ::: "memory");
    wait_until_ready();
    lock();
    return is_erased(start) ? PORT_FLASH_OK : PORT_FLASH_FAILED;
}

int port_flash_erase(uint32_t region)
{
    if (region >= PORT_REGIONS || regions[region].bytes == 0) {
        return PORT_FLASH_RANGE;
    }
    uint32_t end = regions[region].start + regions[region].bytes;
    int result = PORT_FLASH_OK;
    for (uint32_t at = regions[region].start; at < end && result == PORT_FLASH_OK; at += SECTOR) {
        result = erase_sector(at);
    }
    return result;
}

int port_flash_write(uint32_t region, uint32_t offset, const void *from, uint32_t count)
{
    if (region >= PORT_REGIONS || (offset | count) % 4 != 0 || offset > regions[region].bytes ||
        count > regions[region].bytes - offset) {
        return PORT_FLASH_RANGE;
    }
    uint32_t start = regions[region].start + offset;
    int result = PORT_FLASH_OK;
    unlock();
    FLASH_CR = FLASH_CR__PG | FLASH_CR__PSIZE__WORD;
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t word;
        memcpy(&word, (const uint8_t *)from + i, sizeof word);
        *word_at(start + i) = word;
        __asm__ volatile("dsb" ::: "memory");
        wait_until_ready();
    }
    lock();
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t word;
        memcpy(&word, (const uint8_t *)from + i, sizeof word);
        if (*word_at(start + i) != word) {
            result = PORT_FLASH_FAILED;
        }
    }
    return result;
}
