#ifndef CHIP_H
#define CHIP_H

/* Between the files of this port. */

#include <stdint.h>

/// Clocks: both buses and their timers run at the core's clock ///

void clock_init(void);
uint32_t clock_hz(void);

/// Pins: numbered 16 * port + pin, so PA5 is 5 and PB6 is 22 ///

void pin_output(uint32_t pin);
void pin_alternate(uint32_t pin, uint32_t function);

/// Parts of port_init() and port_reboot() ///

void serial_init(void);
void serial_drain(void);

#endif
