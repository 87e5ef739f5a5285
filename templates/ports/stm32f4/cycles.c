/* STM32F4: cycles by the processor's own counter, or by timer 2 where that stands still, as it
 * does in QEMU. */

#include <stdint.h>

#include "chip.h"
#include "port.h"
#include "stm32f4_registers.h"

static uint32_t timer_hz; /* 0: DWT counts */

static int dwt_counts(void)
{
    SCB_DEMCR |= SCB_DEMCR__TRCENA;
    DWT_CTRL |= DWT_CTRL__CYCCNTENA;
    uint32_t before = DWT_CYCCNT;
    __asm__ volatile("dsb" ::: "memory");
    return DWT_CYCCNT != before;
}

void cycles_init(void)
{
    if (dwt_counts()) {
        return;
    }
    RCC_APB1ENR |= RCC_APB1ENR__TIM2EN;
    TIM2_ARR = 0xFFFFFFFFu;
    TIM2_CR1 = TIM2_CR1__CEN;
    timer_hz = clock_apb1_timers_hz();
}

uint32_t port_cycles(void)
{
    return timer_hz ? TIM2_CNT : DWT_CYCCNT;
}

uint32_t port_clock_hz(void)
{
    return timer_hz ? timer_hz : clock_core_hz();
}

uint8_t port_clock_source(void)
{
    return timer_hz ? PORT_CLOCK_TIMER : PORT_CLOCK_DWT;
}
