/* nRF52840: the serial line on UARTE0.
 *
 * EasyDMA receives into one ring for ever: RXD.PTR stays the same, and the end of the buffer
 * starts it again (SHORTS ENDRX -> STARTRX). How far it got is counted by hardware too: each
 * RXDRDY event counts TIMER1 up through PPI. No interrupt ever runs, and nothing is lost while the
 * processor computes or stalls on a flash erase.
 */

#include <stdint.h>
#include <string.h>

#include "nrf52840_registers.h"
#include "pins.h"
#include "port.h"
#include "serial.h"

#if TINYODL_BAUD == 1000000
#define BAUDRATE UARTE0_BAUDRATE__BAUDRATE__BAUD1M
#elif TINYODL_BAUD == 921600
#define BAUDRATE UARTE0_BAUDRATE__BAUDRATE__BAUD921600
#elif TINYODL_BAUD == 460800
#define BAUDRATE UARTE0_BAUDRATE__BAUDRATE__BAUD460800
#elif TINYODL_BAUD == 230400
#define BAUDRATE UARTE0_BAUDRATE__BAUDRATE__BAUD230400
#elif TINYODL_BAUD == 115200
#define BAUDRATE UARTE0_BAUDRATE__BAUDRATE__BAUD115200
#else
#error "this baud rate is not one of the UARTE's"
#endif

static volatile uint8_t ring[TINYODL_RECEIVE_RING]; /* written by EasyDMA */
static uint32_t taken;                              /* bytes ever taken out of it */

static uint32_t address_of(const volatile void *object)
{
    return (uint32_t)(uintptr_t)object;
}

static void count_received_bytes(void)
{
    TIMER1_TASKS_STOP = 1;
    TIMER1_MODE = TIMER1_MODE__MODE__COUNTER;
    TIMER1_BITMODE = TIMER1_BITMODE__BITMODE__32BIT;
    TIMER1_TASKS_CLEAR = 1;
    TIMER1_TASKS_START = 1;
    PPI_CH0_EEP = address_of(&UARTE0_EVENTS_RXDRDY);
    PPI_CH0_TEP = address_of(&TIMER1_TASKS_COUNT);
    PPI_CHENSET = PPI_CHENSET__CH0;
}

void serial_init(void)
{
    pin_set(PORT_UART_TX); /* the line idles high */
    pin_configure(PORT_UART_TX, PIN_OUTPUT);
    pin_configure(PORT_UART_RX, PIN_INPUT);

    UARTE0_ENABLE = UARTE0_ENABLE__ENABLE__DISABLED;
    UARTE0_PSEL_TXD = PORT_UART_TX;
    UARTE0_PSEL_RXD = PORT_UART_RX;
    UARTE0_PSEL_RTS = UARTE0_PSEL_RTS__CONNECT;
    UARTE0_PSEL_CTS = UARTE0_PSEL_CTS__CONNECT;
    UARTE0_CONFIG = 0;
    UARTE0_BAUDRATE = BAUDRATE;
    UARTE0_ENABLE = UARTE0_ENABLE__ENABLE__ENABLED;
    count_received_bytes();

    /* The interrupt is enabled here and not in the NVIC: it only wakes port_idle(). */
    UARTE0_EVENTS_RXDRDY = 0;
    UARTE0_INTENSET = UARTE0_INTENSET__RXDRDY;
    SCB_SCR |= SCB_SCR__SEVONPEND;

    UARTE0_RXD_PTR = address_of(ring);
    UARTE0_RXD_MAXCNT = TINYODL_RECEIVE_RING;
    UARTE0_SHORTS = UARTE0_SHORTS__ENDRX_STARTRX;
    UARTE0_TASKS_STARTRX = 1;
}

/// Receiving ///

static uint32_t received(void)
{
    TIMER1_TASKS_CAPTURE0 = 1;
    return TIMER1_CC0;
}

/* RXDRDY says that a byte is in the receiver; EasyDMA needs a few cycles more to bring it to RAM.
 * Each of these reads takes about four. */
static void let_dma_finish(void)
{
    for (uint32_t i = 0; i < 4; i++) {
        (void)TIMER1_CC0;
    }
}

uint32_t port_receive(uint8_t *to, uint32_t capacity)
{
    uint32_t waiting = received() - taken;
    if (waiting == 0) {
        return 0;
    }
    if (waiting > TINYODL_RECEIVE_RING) { /* overrun: what is in the ring is torn */
        taken += waiting;
        return 0;
    }
    let_dma_finish();
    uint32_t count = waiting < capacity ? waiting : capacity;
    for (uint32_t i = 0; i < count; i++) {
        to[i] = ring[(taken + i) % TINYODL_RECEIVE_RING];
    }
    taken += count;
    return count;
}

/* The order matters. A byte behind the clearing of the pending bit sets the event register, and WFE
 * returns at once; an earlier byte is in the count. */
void port_idle(void)
{
    UARTE0_EVENTS_RXDRDY = 0;
    (void)UARTE0_EVENTS_RXDRDY; /* the write has arrived */
    NVIC_ICPR(0) = 1u << UARTE0_IRQ;
    __asm__ volatile("dsb" ::: "memory");
    if (received() == taken) {
        __asm__ volatile("wfe" ::: "memory");
    }
}

/// Sending ///

enum { RAM_START = 0x20000000, PIECE = 64, LONGEST = 0xFFFF };

static void transmit(const void *from, uint32_t count)
{
    UARTE0_EVENTS_ENDTX = 0;
    UARTE0_TXD_PTR = address_of(from);
    UARTE0_TXD_MAXCNT = count;
    __asm__ volatile("dsb" ::: "memory"); /* the bytes are in RAM before EasyDMA fetches them */
    UARTE0_TASKS_STARTTX = 1;
    while (UARTE0_EVENTS_ENDTX == 0) { /* no flow control: it always ends */
    }
}

void port_send(const uint8_t *from, uint32_t count)
{
    uint8_t copy[PIECE];
    while (count > 0) {
        uint32_t piece;
        if (address_of(from) >= RAM_START) {
            piece = count < LONGEST ? count : LONGEST;
            transmit(from, piece);
        } else { /* EasyDMA reaches RAM only */
            piece = count < PIECE ? count : PIECE;
            memcpy(copy, from, piece);
            transmit(copy, piece);
        }
        from += piece;
        count -= piece;
    }
}
