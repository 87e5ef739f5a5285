#ifndef PORT_H
#define PORT_H

/* What a chip family provides to the rest of the firmware. Every function may be called from
 * thread mode only; none allocates memory. */

#include <stdint.h>

#include "config.h"

/// Life of the firmware ///

/* Clocks, serial line, cycle counter, marker pins. Call it once, before anything else here. Never
 * waits without a bound: where a crystal or a PLL does not start, the chip runs from its internal
 * oscillator, and port_clock_hz() tells the truth about it. */
void port_init(void);

/* Start again as after power-up, once the bytes already sent are out. Does not return. */
void port_reboot(void);

/// Time ///

enum { PORT_CLOCK_DWT = 0, PORT_CLOCK_TIMER = 1, PORT_CLOCK_HOST = 2 };

uint32_t port_cycles(void);      /* free running, wraps */
uint32_t port_clock_hz(void);    /* of that counter */
uint8_t port_clock_source(void); /* PORT_CLOCK_... */

/* Show phase 0..3 (net_phase) on two GPIO pins, in one store where the chip allows. */
void port_mark(uint32_t phase);

/// Serial line ///

/* Take at most `capacity` bytes from the receive ring; how many they are, 0 if none. Bytes that
 * came while the ring was full are lost. */
uint32_t port_receive(uint8_t *to, uint32_t capacity);

/* Send `count` bytes. Returns when the last one is handed to the hardware; the buffer is free. */
void port_send(const uint8_t *from, uint32_t count);

/* Sleep until something may have arrived. Never sleeps past a byte. */
void port_idle(void);

/// Flash: regions that survive a power cut, each erased as a whole ///

enum {
    PORT_SLOT_0, /* the two slots of the weight store, of one size */
    PORT_SLOT_1,
    PORT_FEATURES, /* the network's samples, if it keeps them in flash */
    PORT_BEST,     /* its best parameters, likewise */
    PORT_REGIONS
};

enum {
    PORT_FLASH_OK = 0,
    PORT_FLASH_RANGE = -1,  /* no such region, outside of it, or not whole words */
    PORT_FLASH_FAILED = -2, /* the memory does not hold what was written to it */
    PORT_FLASH_TAKEN = -3   /* port_flash_boot_loader() lies there: nothing was done */
};

#define PORT_NO_BOOT_LOADER 0xFFFFFFFFu

uint32_t port_flash_bytes(uint32_t region);   /* its size; 0: there is none */
const uint8_t *port_flash(uint32_t region);   /* readable memory */
int port_flash_erase(uint32_t region);        /* all bytes 0xFF */

/* The address of a boot loader named by the chip itself, if it reaches into one of the regions, else
 * PORT_NO_BOOT_LOADER. With one there, no region is erased or written: PORT_FLASH_TAKEN. */
uint32_t port_flash_boot_loader(void);

/* Write to erased memory: `offset` and `count` in bytes, multiples of 4; `from` anywhere. */
int port_flash_write(uint32_t region, uint32_t offset, const void *from, uint32_t count);

/// Stack ///

uint32_t port_stack_bytes(void); /* reserved by the linker script */
uint32_t port_stack_used(void);  /* the most that was ever in use */

#endif
