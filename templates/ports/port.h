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

/// Store: two slots of memory that survive a power cut ///

enum {
    PORT_STORE_OK = 0,
    PORT_STORE_RANGE = -1,  /* no such slot, outside of it, or not whole words */
    PORT_STORE_FAILED = -2  /* the memory does not hold what was written to it */
};

uint32_t port_store_bytes(void);               /* size of one slot; 0: this board has no store */
const uint8_t *port_store_slot(uint32_t slot); /* slot 0 or 1, readable memory */
int port_store_erase(uint32_t slot);           /* all bytes 0xFF */

/* Write to erased memory: `offset` and `count` in bytes, multiples of 4; `from` anywhere. */
int port_store_write(uint32_t slot, uint32_t offset, const void *from, uint32_t count);

/// Stack ///

uint32_t port_stack_bytes(void); /* reserved by the linker script */
uint32_t port_stack_used(void);  /* the most that was ever in use */

#endif
