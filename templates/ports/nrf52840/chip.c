/* nRF52840: clock, regulator, cycle counter, marker pins. */

#include <stdint.h>

#include "cortex_m4.h"
#include "nrf52840_registers.h"
#include "pins.h"
#include "port.h"
#include "serial.h"

/// Marker pins and LED ///

/* Each port of pins that one of them is on gets its whole OUT register in one store: no other output
 * in there matters, as the UARTE drives its pins itself. So nothing needs reading back. All of this
 * but the phase is constant, and most boards have everything on one port. */
#define USES(port)                                                                                 \
    ((port) == PORT_LED / 32 || (port) == PORT_MARK_0 / 32 || (port) == PORT_MARK_1 / 32)

static inline void show(uint32_t port, uint32_t lit, uint32_t phase)
{
    const uint32_t high = lit == PORT_LED_ON ? pin_bit(port, PORT_LED) : 0;
    const uint32_t first = phase & 1u ? pin_bit(port, PORT_MARK_0) : 0;
    const uint32_t second = phase & 2u ? pin_bit(port, PORT_MARK_1) : 0;
    if (!USES(port)) {
        return;
    }
    if (port == 0) {
        P0_OUT = high | first | second;
    } else {
        P1_OUT = high | first | second;
    }
}

static void show_all(uint32_t lit, uint32_t phase)
{
    show(0, lit, phase);
    show(1, lit, phase);
}

void port_mark(uint32_t phase)
{
    show_all(0, phase);
}

static void outputs_init(void)
{
    port_mark(0);
    pin_configure(PORT_LED, PIN_OUTPUT);
    pin_configure(PORT_MARK_0, PIN_OUTPUT);
    pin_configure(PORT_MARK_1, PIN_OUTPUT);
}

void port_show_fault(uint32_t on)
{
    outputs_init();
    show_all(on, on ? 3 : 0);
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
