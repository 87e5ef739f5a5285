/* STM32L4: the serial line on USART2 or LPUART1; an interrupt per byte fills a ring. */

#include <stdint.h>

#include "chip.h"
#include "port.h"
#include "stm32l4_registers.h"

#if PORT_LPUART
#define UART_CR1 LPUART1_CR1
#define UART_BRR LPUART1_BRR
#define UART_ISR LPUART1_ISR
#define UART_ICR LPUART1_ICR
#define UART_RDR LPUART1_RDR
#define UART_TDR LPUART1_TDR
#define UART_IRQ LPUART1_IRQ
#else
#define UART_CR1 USART2_CR1
#define UART_BRR USART2_BRR
#define UART_ISR USART2_ISR
#define UART_ICR USART2_ICR
#define UART_RDR USART2_RDR
#define UART_TDR USART2_TDR
#define UART_IRQ USART2_IRQ
#endif

enum {
    ALTERNATE_FUNCTION = PORT_LPUART ? 8 : 7, /* AF7: USART1 to USART3; AF8: LPUART1 */
    FRACTIONS = PORT_LPUART ? 256 : 1,        /* of the clock over the baud rate, in BRR */
    DRAIN_POLLS = 1000000
};

static volatile uint8_t ring[TINYODL_RECEIVE_RING];
static volatile uint32_t arrived; /* bytes ever put into it, by the interrupt alone */
static uint32_t taken;            /* bytes ever taken out of it */

/* A damaged byte is the frame check's matter; an overrun would interrupt for ever until cleared. */
static void receive_interrupt(void)
{
    if (UART_ISR & USART2_ISR__RXNE) {
        uint8_t byte = (uint8_t)UART_RDR;
        if (arrived - taken < TINYODL_RECEIVE_RING) {
            ring[arrived % TINYODL_RECEIVE_RING] = byte;
            arrived++;
        }
    }
    UART_ICR = USART2_ICR__ORECF;
}

__attribute__((section(".vectors.interrupts"), used)) static void (
    *const interrupts[UART_IRQ + 1])(void) = {[UART_IRQ] = receive_interrupt};

/* The clock over the baud rate, rounded: in steps of 1, and of 1/256 on the LPUART. */
static uint32_t divider(uint32_t hz)
{
    return hz / TINYODL_BAUD * FRACTIONS +
           (hz % TINYODL_BAUD * FRACTIONS + TINYODL_BAUD / 2) / TINYODL_BAUD;
}

void serial_init(void)
{
    pin_alternate(PORT_UART_TX, ALTERNATE_FUNCTION);
    pin_alternate(PORT_UART_RX, ALTERNATE_FUNCTION);
    if (PORT_LPUART) {
        RCC_APB1ENR2 |= RCC_APB1ENR2__LPUART1EN;
        (void)RCC_APB1ENR2;
    } else {
        RCC_APB1ENR1 |= RCC_APB1ENR1__USART2EN;
        (void)RCC_APB1ENR1;
    }
    UART_CR1 = 0;
    UART_BRR = divider(clock_hz());
    UART_CR1 = USART2_CR1__UE | USART2_CR1__RE | USART2_CR1__TE | USART2_CR1__RXNEIE;
    NVIC_ISER(UART_IRQ / 32) = 1u << (UART_IRQ % 32);
}

uint32_t port_receive(uint8_t *to, uint32_t capacity)
{
    uint32_t waiting = arrived - taken;
    uint32_t count = waiting < capacity ? waiting : capacity;
    for (uint32_t i = 0; i < count; i++) {
        to[i] = ring[(taken + i) % TINYODL_RECEIVE_RING];
    }
    __asm__ volatile("" ::: "memory"); /* read them all before the interrupt may reuse the room */
    taken += count;
    return count;
}

/* Interrupts are off between the look and the sleep, WFI still wakes for one: no byte can slip in
 * between. */
void port_idle(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
    if (arrived == taken) {
        __asm__ volatile("dsb\n wfi" ::: "memory");
    }
    __asm__ volatile("cpsie i" ::: "memory");
}

void port_send(const uint8_t *from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((UART_ISR & USART2_ISR__TXE) == 0) { /* no flow control: it always comes */
        }
        UART_TDR = from[i];
    }
}

void serial_drain(void)
{
    for (uint32_t i = 0; i < DRAIN_POLLS && (UART_ISR & USART2_ISR__TC) == 0; i++) {
    }
}
