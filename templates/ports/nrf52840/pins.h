#ifndef PINS_H
#define PINS_H

/* Pins are numbered as in PSEL registers: 0..31 are P0.00..P0.31, 32..47 are P1.00..P1.15. */

#include <stdint.h>

#include "nrf52840_registers.h"

static inline void pin_configure(uint32_t pin, uint32_t configuration)
{
    if (pin < 32) {
        P0_PIN_CNF(pin) = configuration;
    } else {
        P1_PIN_CNF(pin - 32) = configuration;
    }
}

/* The pin's bit in the registers of this port; 0 where it is on another one. */
static inline uint32_t pin_bit(uint32_t port, uint32_t pin)
{
    return pin / 32 == port ? 1u << pin % 32 : 0;
}

static inline void pin_set(uint32_t pin)
{
    if (pin < 32) {
        P0_OUTSET = 1u << pin;
    } else {
        P1_OUTSET = 1u << (pin - 32);
    }
}

enum { PIN_OUTPUT = P0_PIN_CNF__DIR__OUTPUT | P0_PIN_CNF__INPUT__DISCONNECT };
enum { PIN_INPUT = P0_PIN_CNF__PULL__PULLUP };

#endif
