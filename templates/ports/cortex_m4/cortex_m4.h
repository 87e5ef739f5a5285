#ifndef CORTEX_M4_H
#define CORTEX_M4_H

/* Between the processor's part of a port and the chip's part. */

#include <stdint.h>

void port_reset_handler(void);
void port_fault_handler(void);

/* Provided by the chip: make a fault visible, on and off in turn. Needs no port_init() before. */
void port_show_fault(uint32_t on);

/* Provided by the chip: flash. To erase a unit of TINYODL_ERASE_BYTES that begins at an address; to
 * begin programming, program erased words, each with a wait until it is done, and end. Whether the
 * flash then holds what it should is looked at elsewhere. */
void flash_erase_unit(uint32_t address);
void flash_program_begin(void);
void flash_program_word(volatile uint32_t *to, uint32_t word);
void flash_program_end(void);

/* Provided by the chip: the address of a boot loader named by the chip itself, if a part of it lies
 * between these addresses, else PORT_NO_BOOT_LOADER. */
uint32_t flash_boot_loader(uint32_t start, uint32_t end);

/* Request a reset of the whole chip; does not return. */
void port_system_reset(void);

#endif
