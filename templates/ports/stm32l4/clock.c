/* STM32L4: full clock from the PLL, which the internal oscillator of 16 MHz feeds.
 *
 * That oscillator is accurate to 1 %, good enough for the serial line, and every board has it. Where
 * the PLL does not lock, the chip stays at 16 MHz. Every wait is bounded. RM0351 sections 3.3.3
 * (flash), 5.1.7 (voltage), 6.2 and 6.4 (RCC); RM0432 the same, and section 5.1.8 (boost).
 */

#include "chip.h"
#include "config.h"
#include "stm32l4_registers.h"

enum {
    HSI_HZ = 16000000,
    MHZ = 1000000,
    POLLS = 100000, /* over 30 ms at 16 MHz; the oscillator starts in 4 us, a PLL in 40 us */
    BOOST_ABOVE = 80 * MHZ,
    SETTLE = 200 /* turns: over 1 us at 120 MHz */
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
    RCC_CFGR = RCC_CFGR__SW__HSI;
    wait_for(&RCC_CFGR, RCC_CFGR__SWS, RCC_CFGR__SWS__HSI);
    RCC_CR &= ~RCC_CR__PLLON;
    wait_for(&RCC_CR, RCC_CR__PLLRDY, 0);
    core_hz = HSI_HZ;
}

/* 4 MHz into the PLL, twice the core clock out of its oscillator, a half of that to the core. */
static uint32_t pll_configuration(void)
{
    uint32_t n = 2u * (TINYODL_CLOCK_HZ / MHZ) / 4;
    return RCC_PLLCFGR__PLLSRC__HSI | 3u * RCC_PLLCFGR__PLLM__0 | n * RCC_PLLCFGR__PLLN__0 |
           RCC_PLLCFGR__PLLREN;
}

/* At the regulator's range 1, its reset value, 4 wait states serve 80 MHz on the L476, and with boost
 * 5 serve 120 MHz on the L4R5; caches and prefetch hide most of them. */
static int flash_keeps_up(void)
{
    const uint32_t latency = TINYODL_CLOCK_HZ > BOOST_ABOVE ? 5 : 4;
    FLASH_ACR = latency | FLASH_ACR__PRFTEN | FLASH_ACR__ICEN | FLASH_ACR__DCEN;
    return (FLASH_ACR & FLASH_ACR__LATENCY) == latency;
}

/* Above 80 MHz the regulator boosts, and the core passes through half of its clock for 1 us. */
void clock_init(void)
{
    const uint32_t half = TINYODL_CLOCK_HZ > BOOST_ABOVE ? RCC_CFGR__HPRE__DIV2 : 0;
    RCC_APB1ENR1 |= RCC_APB1ENR1__PWREN;
    (void)RCC_APB1ENR1;
    run_from_internal();
    RCC_PLLCFGR = pll_configuration();
    RCC_CR |= RCC_CR__PLLON;
    if (half) {
        PWR_CR5 &= ~PWR_CR5__R1MODE;
    }
    if (!flash_keeps_up() || !wait_for(&RCC_CR, RCC_CR__PLLRDY, RCC_CR__PLLRDY)) {
        return;
    }
    RCC_CFGR = RCC_CFGR__SW__HSI | half;
    RCC_CFGR |= RCC_CFGR__SW__PLL;
    if (!wait_for(&RCC_CFGR, RCC_CFGR__SWS, RCC_CFGR__SWS__PLL)) {
        RCC_CFGR = RCC_CFGR__SW__HSI;
        return;
    }
    for (uint32_t i = 0; half && i < SETTLE; i++) {
        __asm__ volatile("");
    }
    RCC_CFGR = RCC_CFGR__SW__PLL;
    core_hz = TINYODL_CLOCK_HZ;
}

uint32_t clock_hz(void)
{
    return core_hz;
}
