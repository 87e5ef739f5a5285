/* STM32F4: the serial line on USART1 or USART2; an interrupt per byte fills a ring. */

#include <stdint.h>

#include "chip.h"
#include "port.h"
#include "stm32f4_registers.h"

#if PORT_USART == 1
#define USART_SR USART1_SR
#define USART_DR USART1_DR
#define USART_BRR USART1_BRR
#define USART_CR1 USART1_CR1
#define USART_IRQ USART1_IRQ
#elif PORT_USART == 2
#define USART_SR USART2_SR
#define USART_DR USART2_DR
#define USART_BRR USART2_BRR
#define USART_CR1 USART2_CR1
#define USART_IRQ USART2_IRQ
#else
#error "PORT_USART is 1 or 2"
#endif

enum { ALTERNATE_FUNCTION = 7, DRAIN_POLLS = 1000000 }; /* AF7: USART1 to USART3 */

static volatile uint8_t ring[TINYODL_RECEIVE_RING];
static volatile uint32_t arrived; /* bytes ever put into it, by the interrupt alone */
static uint32_t taken;            /* bytes ever taken out of it */

/* Reading SR and then DR also clears the error flags; a damaged byte is the frame check's matter. */
static void receive_interrupt(void)
{
    if (USART_SR & USART1_SR__RXNE) {
        uint8_t byte = (uint8_t)USART_DR;
        if (arrived - taken < TINYODL_RECEIVE_RING) {
            ring[arrived % TINYODL_RECEIVE_RING] = byte;
            arrived++;
        }
    } else {
        (void)USART_DR; /* an overrun without a byte */
    }
}

__attribute__((section(".vectors.interrupts"), used)) static void (
    *const interrupts[USART_IRQ + 1])(void) = {[USART_IRQ] = receive_interrupt};

void serial_init(void)
{
    uint32_t bus_hz;
    pin_alternate(PORT_UART_TX, ALTERNATE_FUNCTION);
    pin_alternate(PORT_UART_RX, ALTERNATE_FUNCTION);
    if (PORT_USART == 1) {
        RCC_APB2ENR |= RCC_APB2ENR__USART1EN;
        bus_hz = clock_apb2_hz();
    } else {
        RCC_APB1ENR |= RCC_APB1ENR__USART2EN;
        bus_hz = clock_apb1_hz();
    }
    /* With 16-fold oversampling the register holds the bus clock over the baud rate, rounded. */
    USART_BRR = (bus_hz + TINYODL_BAUD / 2) / TINYODL_BAUD;
    USART_CR1 = USART1_CR1__UE | USART1_CR1__RE | USART1_CR1__TE | USART1_CR1__RXNEIE;
    NVIC_ISER(USART_IRQ / 32) = 1u << (USART_IRQ % 32);
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

/* With interrupts held back, WFI still wakes for one: no byte can slip in between. */
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
        while ((USART_SR & USART1_SR__TXE) == 0) { /* no flow control: it always comes */
        }
        USART_DR = from[i];
    }
}

void serial_drain(void)
{
    for (uint32_t i = 0; i < DRAIN_POLLS && (USART_SR & USART1_SR__TC) == 0; i++) {
    }
}
