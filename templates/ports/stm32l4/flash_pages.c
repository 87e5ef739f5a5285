/* STM32L4: flash by pages and double words.
 *
 * Each double word has 8 bits of error-correcting code, and is programmed once after an erase: as two
 * stores of a word, lower address first. A page takes 25 ms to erase, a double word 90 us to write
 * (datasheet, "Flash memory characteristics"). RM0351 section 3.3, RM0432 section 3.3.
 *
 * A bank has 256 pages. The STM32L4R5 has two banks with pages of 4 KB, or with option bit DBANK clear
 * one with pages of 8 KB: what is erased at a time is 8 KB there, so both do. The STM32L476RG has two
 * banks with pages of 2 KB.
 */

#include <stdint.h>

#include "config.h"
#include "cortex_m4.h"
#include "port.h"
#include "stm32l4_registers.h"

enum {
    FLASH_START = 0x08000000,
    PAGES = 256, /* of a bank */
    SMALL_PAGE = 0x800,
    LARGE_PAGE = 0x2000,
    BUSY_POLLS = 10000000 /* far over 25 ms */
};

#define ERRORS                                                                                     \
    (FLASH_SR__OPERR | FLASH_SR__PROGERR | FLASH_SR__WRPERR | FLASH_SR__PGAERR |                   \
     FLASH_SR__SIZERR | FLASH_SR__PGSERR | FLASH_SR__MISERR | FLASH_SR__FASTERR |                  \
     FLASH_SR__RDERR | FLASH_SR__OPTVERR)

_Static_assert(TINYODL_ERASE_BYTES == SMALL_PAGE || TINYODL_ERASE_BYTES == LARGE_PAGE,
               "the pages of these chips");

static void wait_until_ready(void)
{
    for (uint32_t i = 0; i < BUSY_POLLS && (FLASH_SR & FLASH_SR__BSY) != 0; i++) {
    }
}

/* Clears the errors of earlier operations too: one of them would refuse the next. The data cache is
 * off meanwhile: it must not be read from while flash is written (errata ES0393 of the STM32L4R5). */
static void unlock(void)
{
    if (FLASH_CR & FLASH_CR__LOCK) {
        FLASH_KEYR = FLASH_KEYR__KEY__1;
        FLASH_KEYR = FLASH_KEYR__KEY__2;
    }
    wait_until_ready();
    FLASH_SR = FLASH_SR__EOP | ERRORS;
    FLASH_ACR &= ~FLASH_ACR__DCEN;
}

/* The data cache may hold what the flash held before; it is emptied while it is off. */
static void lock(void)
{
    FLASH_CR = FLASH_CR__LOCK;
    uint32_t access = FLASH_ACR;
    FLASH_ACR = access | FLASH_ACR__DCRST;
    FLASH_ACR = access;
    FLASH_ACR = access | FLASH_ACR__DCEN;
    __asm__ volatile("dsb" ::: "memory");
}

static uint32_t page_bytes(void)
{
    if (TINYODL_ERASE_BYTES == SMALL_PAGE) {
        return SMALL_PAGE;
    }
    return FLASH_OPTR & FLASH_OPTR__DBANK ? LARGE_PAGE / 2 : LARGE_PAGE;
}

/* The banks may have changed places. */
static uint32_t bank_bit(uint32_t number)
{
    RCC_APB2ENR |= RCC_APB2ENR__SYSCFGEN;
    (void)RCC_APB2ENR;
    uint32_t swapped = (SYSCFG_MEMRMP & SYSCFG_MEMRMP__FB_MODE) != 0;
    return (number / PAGES ^ swapped) & 1u ? FLASH_CR__BKER : 0;
}

void flash_erase_unit(uint32_t address)
{
    const uint32_t bytes = page_bytes();
    unlock();
    for (uint32_t at = address; at < address + TINYODL_ERASE_BYTES; at += bytes) {
        const uint32_t number = (at - FLASH_START) / bytes;
        const uint32_t bank = bytes == LARGE_PAGE ? 0 : bank_bit(number);
        FLASH_CR = FLASH_CR__PER | number % PAGES * FLASH_CR__PNB__1 | bank;
        FLASH_CR |= FLASH_CR__STRT;
        __asm__ volatile("dsb" ::: "memory");
        wait_until_ready();
    }
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
    FLASH_CR = FLASH_CR__PG;
}

/* The chip programs with the second word of a double word. */
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

/* The non-maskable interrupt: the code of a double word does not fit, because power failed while it
 * was programmed. The program goes on, for the store's CRC finds the wrong bytes. Any other cause is a
 * fault. */
__attribute__((used)) void flash_error_handler(void)
{
    if (FLASH_ECCR & FLASH_ECCR__ECCD) {
        FLASH_ECCR |= FLASH_ECCR__ECCD;
        return;
    }
    port_fault_handler();
}
