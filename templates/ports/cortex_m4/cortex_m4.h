#ifndef CORTEX_M4_H
#define CORTEX_M4_H

/* Between the processor's part of a port and the chip's part. */

#include <stdint.h>

void port_reset_handler(void);
void port_fault_handler(void);

/* Provided by the chip: make a fault visible, on and off in turn. Needs no port_init() before. */
void port_show_fault(uint32_t on);

/* Request a reset of the whole chip; does not return. */
void port_system_reset(void);

#endif
