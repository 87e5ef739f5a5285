/* STM32F4: full clock from the PLL.
 *
 * The PLL runs from the external oscillator, or, where that does not start, from the internal one
 * (1 % accurate, good enough for the serial line). Where the PLL does not lock either, the chip
 * stays at the internal 16 MHz. Every wait is bounded, so no board and no emulator hangs here.
 * RM0090 sections 3.5 (flash), 5.1.4 (over-drive), 7.2 and 7.3 (RCC); RM0390 sections 3.4, 5.1.4, 6.
 */

#include "chip.h"
#include "config.h"
#include "stm32f4_registers.h"

enum {
    HSI_HZ = 16000000,
    MHZ = 1000000,
    POLLS = 100000,            /* over 30 ms at 16 MHz; a crystal starts in 2 ms, a PLL in 0.3 ms */
    OVER_DRIVE_ABOVE = 168 * MHZ
};

static uint32_t core_hz;

static int wait_for(const volatile uint32_t *status, uint32_t mask, uint32_t value)
{
    for (uint32_t i = 0; i < POLLS; i++) {
        if ((*status & mask) == value) {
            return 1;
        }
    }
    return 0;
}

/* A boot loader may have left the PLL running. */
static void run_from_internal(void)
{
    RCC_CR |= RCC_CR__HSION;
    wait_for(&RCC_CR, RCC_CR__HSIRDY, RCC_CR__HSIRDY);
    RCC_CFGR = 0;
    wait_for(&RCC_CFGR, RCC_CFGR__SWS0 | RCC_CFGR__SWS1, 0);
    RCC_CR &= ~RCC_CR__PLLON;
    wait_for(&RCC_CR, RCC_CR__PLLRDY, 0);
    core_hz = HSI_HZ;
}

static int external_starts(void)
{
    RCC_CR &= ~(RCC_CR__HSEON | RCC_CR__HSEBYP);
    RCC_CR |= PORT_HSE_BYPASS ? RCC_CR__HSEBYP : 0u;
    RCC_CR |= RCC_CR__HSEON;
    return wait_for(&RCC_CR, RCC_CR__HSERDY, RCC_CR__HSERDY);
}

/* 1 MHz into the PLL, twice the core clock out of its oscillator, a half of that to the core;
 * Q feeds USB and the like, which nobody uses: any value in its range. */
static uint32_t pll_configuration(int external)
{
    uint32_t m = (external ? PORT_HSE_HZ : (uint32_t)HSI_HZ) / MHZ;
    uint32_t n = 2u * (TINYODL_CLOCK_HZ / MHZ);
    uint32_t q = 8;
    return m * RCC_PLLCFGR__PLLM0 | n * RCC_PLLCFGR__PLLN0 | q * RCC_PLLCFGR__PLLQ0 |
           (external ? RCC_PLLCFGR__PLLSRC : 0u);
}

static int over_drive_works(void)
{
    if (TINYODL_CLOCK_HZ <= OVER_DRIVE_ABOVE) {
        return 1;
    }
    PWR_CR |= PWR_CR__ODEN;
    if (!wait_for(&PWR_CSR, PWR_CSR__ODRDY, PWR_CSR__ODRDY)) {
        return 0;
    }
    PWR_CR |= PWR_CR__ODSWEN;
    return wait_for(&PWR_CSR, PWR_CSR__ODSWRDY, PWR_CSR__ODSWRDY);
}

/* 5 wait states serve 150 to 180 MHz at 2.7 to 3.6 V; caches and prefetch hide most of them. */
static int flash_keeps_up(void)
{
    FLASH_ACR = FLASH_ACR__LATENCY__5 | FLASH_ACR__PRFTEN | FLASH_ACR__ICEN | FLASH_ACR__DCEN;
    return (FLASH_ACR & FLASH_ACR__LATENCY) == FLASH_ACR__LATENCY__5;
}

/* The regulator's voltage scale 1, which full clock needs, is the reset value on both chips. */
void clock_init(void)
{
    RCC_APB1ENR |= RCC_APB1ENR__PWREN;
    run_from_internal();
    RCC_PLLCFGR = pll_configuration(external_starts());
    RCC_CR |= RCC_CR__PLLON;
    if (!over_drive_works() || !flash_keeps_up() ||
        !wait_for(&RCC_CR, RCC_CR__PLLRDY, RCC_CR__PLLRDY)) {
        return;
    }
    RCC_CFGR = RCC_CFGR__PPRE1__DIV4 | RCC_CFGR__PPRE2__DIV2;
    RCC_CFGR |= RCC_CFGR__SW1;
    if (wait_for(&RCC_CFGR, RCC_CFGR__SWS0 | RCC_CFGR__SWS1, RCC_CFGR__SWS1)) {
        core_hz = TINYODL_CLOCK_HZ;
    } else {
        RCC_CFGR = 0;
    }
}

/// What it came to ///

static int full_clock(void)
{
    return core_hz != HSI_HZ;
}

uint32_t clock_core_hz(void)
{
    return core_hz;
}

uint32_t clock_apb1_hz(void)
{
    return full_clock() ? core_hz / 4 : core_hz;
}

/* Timers run at twice their bus where the bus is divided (RM0090 section 7.2). */
uint32_t clock_apb1_timers_hz(void)
{
    return full_clock() ? core_hz / 2 : core_hz;
}

uint32_t clock_apb2_hz(void)
{
    return full_clock() ? core_hz / 2 : core_hz;
}
