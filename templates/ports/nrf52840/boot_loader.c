/* nRF52840: boot loaders that the chip itself names.
 *
 * After a reset, the master boot record (MBR) at address 0 starts the boot loader whose address is in
 * the MBR's own last words or, while those are erased, in UICR. The word behind each names a page of
 * the MBR's parameters. (Nordic: nrf_mbr.h of the nRF5 SDK, and the SoftDevice specification, "Master
 * boot record and bootloader".) No word tells a boot loader's size: it is taken to reach to the end of
 * flash. An erased word names no address in flash.
 */

#include <stdint.h>

#include "cortex_m4.h"
#include "nrf52840_registers.h"
#include "port.h"

enum { PAGE = 4096, MBR_BYTES = PAGE, MBR_BOOT_LOADER = 0xFF8, MBR_PARAMETERS = 0xFFC };

/* Where no MBR is, a program lies there: this one, or a boot loader. Its words are not taken for
 * addresses, unless they could be. */
static uint32_t mbr_word(uint32_t address)
{
    if (TINYODL_PROGRAM_START < MBR_BYTES) {
        return PORT_NO_BOOT_LOADER;
    }
    const volatile uintptr_t at = address; /* no constant: GCC 12 takes low ones for null pointers */
    const uint32_t word = *(const volatile uint32_t *)at;
    return word % PAGE == 0 && word >= MBR_BYTES ? word : PORT_NO_BOOT_LOADER;
}

uint32_t flash_boot_loader(uint32_t start, uint32_t end)
{
    const uint32_t loaders[] = {UICR_NRFFW(0), mbr_word(MBR_BOOT_LOADER)};
    const uint32_t parameters[] = {UICR_NRFFW(1), mbr_word(MBR_PARAMETERS)};

    for (uint32_t i = 0; i < 2; i++) {
        if (loaders[i] < end) {
            return loaders[i];
        }
        if (parameters[i] < end && parameters[i] / PAGE >= start / PAGE) {
            return parameters[i];
        }
    }
    return PORT_NO_BOOT_LOADER;
}
