/* nRF52840: clock, regulator, cycle counter, marker pins. */

#include <stdint.h>

#include "cortex_m4.h"
#include "nrf52840_registers.h"
#include "pins.h"
#include "port.h"
#include "serial.h"

/// Marker pins: P0.03 is bit 0 of the phase, P0.04 bit 1 ///

enum { MARK_PIN = 3, MARK_PINS = 2 };

/* The LED is the only other output in P0.OUT that matters: where it lights at low level, it has to
 * stay high. So a whole store does, and P0.OUT needs no reading back. */
#define LED_OFF (PORT_LED_ON ? 0u : 1u << PORT_LED)
#define LED_ON (PORT_LED_ON ? 1u << PORT_LED : 0u)

void port_mark(uint32_t phase)
{
    P0_OUT = LED_OFF | (phase & 3u) << MARK_PIN;
}

static void outputs_init(void)
{
    P0_OUT = LED_OFF;
    pin_configure(PORT_LED, PIN_OUTPUT);
    for (uint32_t i = 0; i < MARK_PINS; i++) {
        pin_configure(MARK_PIN + i, PIN_OUTPUT);
    }
}

void port_show_fault(uint32_t on)
{
    outputs_init();
    P0_OUT = on ? LED_ON | 3u << MARK_PIN : LED_OFF;
}

/// Clock ///

/* A crystal starts in under 1 ms. The bound is far beyond; past it the chip stays on its internal
 * 64 MHz oscillator, which is good enough for the serial line. */
enum { CRYSTAL_POLLS = 100000 };

static void clock_init(void)
{
    CLOCK_EVENTS_HFCLKSTARTED = 0;
    CLOCK_TASKS_HFCLKSTART = 1;
    for (uint32_t i = 0; i < CRYSTAL_POLLS && CLOCK_EVENTS_HFCLKSTARTED == 0; i++) {
    }
}

uint32_t port_clock_hz(void)
{
    return TINYODL_CLOCK_HZ; /* 64 MHz from either oscillator */
}

/// Cycle counter ///

uint32_t port_cycles(void)
{
    return DWT_CYCCNT;
}

uint8_t port_clock_source(void)
{
    return PORT_CLOCK_DWT;
}

static void cycles_init(void)
{
    SCB_DEMCR |= SCB_DEMCR__TRCENA;
    DWT_CYCCNT = 0;
    DWT_CTRL |= DWT_CTRL__CYCCNTENA;
}

/// Life ///

void port_init(void)
{
    if (PORT_DCDC) { /* only where the board has the inductor */
        POWER_DCDCEN = POWER_DCDCEN__DCDCEN__ENABLED;
    }
    NVMC_ICACHECNF = NVMC_ICACHECNF__CACHEEN__ENABLED;
    clock_init();
    cycles_init();
    outputs_init();
    serial_init();
}

void port_reboot(void)
{
    port_system_reset(); /* port_send() has waited for the last bit already */
}
