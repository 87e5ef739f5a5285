/* STM32L4: pins, marker pins, cycle counter, start and restart. */

#include <stdint.h>

#include "chip.h"
#include "cortex_m4.h"
#include "port.h"
#include "stm32l4_registers.h"

/// Pins ///

enum { PORT_G = 6 };

static void set_field(volatile uint32_t *reg, uint32_t lsb, uint32_t width, uint32_t value)
{
    uint32_t mask = ((1u << width) - 1u) << lsb;
    *reg = (*reg & ~mask) | value << lsb;
}

/* Pins 2 to 15 of port G have a supply of their own, VDDIO2. It is cut off until software declares it
 * present (RM0432 section 5.1.2). */
static void enable_port(uint32_t port)
{
    if (port == PORT_G) {
        PWR_CR2 |= PWR_CR2__IOSV;
    }
    RCC_AHB2ENR |= RCC_AHB2ENR__GPIOAEN << port;
    (void)RCC_AHB2ENR; /* the clock runs two cycles later (RM0351 section 6.2.18) */
}

void pin_output(uint32_t pin)
{
    enable_port(pin / 16);
    set_field(&GPIO_MODER(pin / 16), 2 * (pin % 16), 2, GPIO_MODER__OUTPUT);
}

void pin_alternate(uint32_t pin, uint32_t function)
{
    uint32_t port = pin / 16, bit = pin % 16;
    enable_port(port);
    if (bit < 8) {
        set_field(&GPIO_AFRL(port), 4 * bit, 4, function);
    } else {
        set_field(&GPIO_AFRH(port), 4 * (bit - 8), 4, function);
    }
    set_field(&GPIO_OSPEEDR(port), 2 * bit, 2, GPIO_OSPEEDR__HIGH);
    set_field(&GPIO_PUPDR(port), 2 * bit, 2, GPIO_PUPDR__PULL_UP);
    set_field(&GPIO_MODER(port), 2 * bit, 2, GPIO_MODER__ALTERNATE);
}

/// Marker pins ///

static inline uint32_t first(uint32_t phase)
{
    return (phase & 1u) << PORT_MARK_0 % 16;
}

static inline uint32_t second(uint32_t phase)
{
    return (phase >> 1 & 1u) << PORT_MARK_1 % 16;
}

/* The lower half of BSRR sets pins, the upper half resets them: one store, where both pins are on one
 * port. */
void port_mark(uint32_t phase)
{
    if (PORT_MARK_0 / 16 == PORT_MARK_1 / 16) {
        GPIO_BSRR(PORT_MARK_0 / 16) =
            first(phase) | second(phase) | (first(~phase) | second(~phase)) << 16;
    } else {
        GPIO_BSRR(PORT_MARK_0 / 16) = first(phase) | first(~phase) << 16;
        GPIO_BSRR(PORT_MARK_1 / 16) = second(phase) | second(~phase) << 16;
    }
}

static void outputs_init(void)
{
    pin_output(PORT_MARK_0);
    pin_output(PORT_MARK_1);
    pin_output(PORT_LED);
}

/* Also before port_init(): a pin of port G needs PWR. */
void port_show_fault(uint32_t on)
{
    RCC_APB1ENR1 |= RCC_APB1ENR1__PWREN;
    outputs_init();
    port_mark(on ? 3 : 0);
    GPIO_BSRR(PORT_LED / 16) = 1u << (PORT_LED % 16 + (on ? 0 : 16));
}

/// Cycle counter ///

static void cycles_init(void)
{
    SCB_DEMCR |= SCB_DEMCR__TRCENA;
    DWT_CYCCNT = 0;
    DWT_CTRL |= DWT_CTRL__CYCCNTENA;
}

uint32_t port_cycles(void)
{
    return DWT_CYCCNT;
}

uint32_t port_clock_hz(void)
{
    return clock_hz();
}

uint8_t port_clock_source(void)
{
    return PORT_CLOCK_DWT;
}

/// Life ///

void port_init(void)
{
    clock_init();
    cycles_init();
    outputs_init();
    port_mark(0);
    serial_init();
}

void port_reboot(void)
{
    serial_drain();
    port_system_reset();
}
