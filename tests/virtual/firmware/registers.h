#ifndef REGISTERS_H
#define REGISTERS_H

/* What the test images share: register access, marker pins, and a serial line without interrupts:
 * a received byte pends one that is not enabled, which ends WFE. */

#include <stdint.h>

#define R(address) (*(volatile uint32_t *)(address))

#ifdef NRF52840

static inline void marker_init(void)
{
    R(0x50000518u) = 3u << 3; /* P0.DIRSET: P0.03 and P0.04 */
}

#define MARKER 0x50000504u /* P0.OUT */
#define MARK(phase) ((uint32_t)(phase) << 3)

static uint8_t inbox[256], outbox[256];
static uint32_t taken;

static inline void serial_init(void)
{
    R(0x4000250Cu) = 6; /* PSEL.TXD */
    R(0x40002514u) = 8; /* PSEL.RXD */
    R(0x40002524u) = 0x10000000u;
    R(0x40002500u) = 8;
    R(0x40009504u) = 1; /* TIMER1 counts ... */
    R(0x40009508u) = 3;
    R(0x40009000u) = 1;
    R(0x4001F510u) = 0x40002108u; /* ... RXDRDY by PPI */
    R(0x4001F514u) = 0x40009008u;
    R(0x4001F504u) = 1;
    R(0x40002304u) = 1u << 2; /* INTENSET.RXDRDY */
    R(0xE000ED10u) = 1u << 4; /* SEVONPEND */
    R(0x40002534u) = (uint32_t)inbox;
    R(0x40002538u) = sizeof inbox;
    R(0x40002200u) = 1u << 5; /* ENDRX -> STARTRX */
    R(0x40002000u) = 1;
}

static inline uint8_t receive(void)
{
    for (;;) {
        R(0x40002108u) = 0;
        R(0xE000E280u) = 1u << 2;
        R(0x40009040u) = 1;
        if (R(0x40009540u) != taken) {
            return inbox[taken++ % sizeof inbox];
        }
        __asm__ volatile("wfe" ::: "memory");
    }
}

static inline void send(const void *from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        outbox[i] = ((const uint8_t *)from)[i];
    }
    R(0x40002544u) = (uint32_t)outbox;
    R(0x40002548u) = count;
    R(0x40002120u) = 0;
    __asm__ volatile("dsb" ::: "memory");
    R(0x40002008u) = 1;
    while (R(0x40002120u) == 0) {
    }
}

#elif defined STM32L4 /* at its internal 16 MHz, USART2 */

static inline void marker_init(void)
{
    R(0x4002104Cu) |= 1u << 2;
    R(0x48000800u) = 5; /* PC0 and PC1 are outputs */
}

#define MARKER 0x48000818u /* GPIOC_BSRR */
#define MARK(phase) ((uint32_t)(phase) | 3u << 16)

static inline void serial_init(void)
{
    R(0x40021000u) |= 1u << 8; /* HSION */
    R(0x40021008u) = 1;
    R(0x40021058u) |= 1u << 17;
    R(0x4000440Cu) = 16;                       /* 1 Mbaud */
    R(0x40004400u) = 1u | 1u << 5 | 3u << 2;   /* UE, RXNEIE, TE, RE */
    R(0xE000ED10u) = 1u << 4;                  /* SEVONPEND */
}

static inline uint8_t receive(void)
{
    for (;;) {
        R(0xE000E284u) = 1u << (38 - 32);
        if (R(0x4000441Cu) & 1u << 5) {
            return (uint8_t)R(0x40004424u);
        }
        __asm__ volatile("wfe" ::: "memory");
    }
}

static inline void send(const void *from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((R(0x4000441Cu) & 1u << 7) == 0) {
        }
        R(0x40004428u) = ((const uint8_t *)from)[i];
    }
}

#else /* an STM32F4 at its internal 16 MHz, USART1 */

static inline void marker_init(void)
{
    R(0x40023830u) |= 1u << 2;
    R(0x40020800u) = 5; /* PC0 and PC1 are outputs */
}

#define MARKER 0x40020818u /* GPIOC_BSRR */
#define MARK(phase) ((uint32_t)(phase) | 3u << 16)

static inline void serial_init(void)
{
    R(0x40023844u) |= 1u << 4;
    R(0x40011008u) = 16;               /* 1 Mbaud */
    R(0x4001100Cu) = 1u << 13 | 1u << 5 | 3u << 2; /* UE, RXNEIE, TE, RE */
    R(0xE000ED10u) = 1u << 4;          /* SEVONPEND */
}

static inline uint8_t receive(void)
{
    for (;;) {
        R(0xE000E284u) = 1u << (37 - 32);
        if (R(0x40011000u) & 1u << 5) {
            return (uint8_t)R(0x40011004u);
        }
        __asm__ volatile("wfe" ::: "memory");
    }
}

static inline void send(const void *from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((R(0x40011000u) & 1u << 7) == 0) {
        }
        R(0x40011004u) = ((const uint8_t *)from)[i];
    }
}

#endif

#endif
