/* nRF52840: flash by its controller, pages of 4096 bytes and words of 4.
 *
 * The processor stalls while the flash is busy (a page takes 85 ms to erase, a word 41 us to
 * write; Product Specification, NVMC); EasyDMA goes on receiving meanwhile. */

#include <stdint.h>

#include "cortex_m4.h"
#include "nrf52840_registers.h"

enum { READY_POLLS = 10000000 };

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

void flash_erase_unit(uint32_t address)
{
    set_mode(NVMC_CONFIG__WEN__EEN);
    NVMC_ERASEPAGE = address;
    wait_until_ready();
    set_mode(NVMC_CONFIG__WEN__REN);
}

void flash_program_begin(void)
{
    set_mode(NVMC_CONFIG__WEN__WEN);
}

void flash_program_word(volatile uint32_t *to, uint32_t word)
{
    *to = word;
    wait_until_ready();
}

void flash_program_end(void)
{
    set_mode(NVMC_CONFIG__WEN__REN);
}
