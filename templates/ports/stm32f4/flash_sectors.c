/* STM32F4: regions of flash in the last sectors of 128 KB.
 *
 * Flash has one bank on these chips: while it erases (1 to 2 s, datasheet "Flash memory
 * programming") or writes (16 us a word), the processor waits for its next instruction and serial
 * bytes are lost. That is acceptable, because the host waits for the reply to its request, and
 * saves having to run any code from RAM. RM0090 section 3.6, RM0390 section 3.5.
 */

#include <stdint.h>

#include "config.h"
#include "cortex_m4.h"
#include "port.h"
#include "stm32f4_registers.h"

enum {
    FLASH_START = 0x08000000,
    SECTOR = 0x20000,
    FIRST_LARGE_SECTOR = 4, /* four of 16 KB and one of 64 KB fill the first 128 KB */
    BUSY_POLLS = 200000000  /* far over 4 s, the longest a sector may take */
};

#define ERRORS                                                                                     \
    (FLASH_SR__OPERR | FLASH_SR__WRPERR | FLASH_SR__PGAERR | FLASH_SR__PGPERR | FLASH_SR__PGSERR)

_Static_assert(TINYODL_ERASE_BYTES == SECTOR, "a sector is what is erased at a time");

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

void flash_erase_unit(uint32_t address)
{
    uint32_t sector = FIRST_LARGE_SECTOR + (address - FLASH_START) / SECTOR;
    unlock();
    FLASH_CR = FLASH_CR__SER | sector * FLASH_CR__SNB__1 | FLASH_CR__PSIZE__WORD;
    FLASH_CR |= FLASH_CR__STRT;
    __asm__ volatile("dsb" ::: "memory");
    wait_until_ready();
    lock();
}

/* The chip's own boot loader is in ROM, and nothing on the chip names another one. */
uint32_t flash_boot_loader(uint32_t start, uint32_t end)
{
    (void)start;
    (void)end;
    return PORT_NO_BOOT_LOADER;
}

void flash_program_begin(void)
{
    unlock();
    FLASH_CR = FLASH_CR__PG | FLASH_CR__PSIZE__WORD;
}

void flash_program_word(volatile uint32_t *to, uint32_t word)
{
    *to = word;
    __asm__ volatile("dsb" ::: "memory");
    wait_until_ready();
}

void flash_program_end(void)
{
    lock();
}
