#ifndef CORTEX_M4_REGISTERS_H
#define CORTEX_M4_REGISTERS_H

/* Registers of the processor that the ports use, and their bits.
 * Source: ARMv7-M Architecture Reference Manual (ARM DDI 0403E), sections B3.2.2 (system control
 * block), B3.3.2 (SysTick), B3.4.3 (NVIC), C1.6.2 (DEMCR), C1.8.5 (DWT).
 * Names: BLOCK_REGISTER is the register, BLOCK_REGISTER__FIELD its bits; a test reads this file. */

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

/// System control block ///

#define SCB_VTOR REGISTER(0xE000ED08u)
#define SCB_AIRCR REGISTER(0xE000ED0Cu)
#define SCB_AIRCR__VECTKEY (0x05FAu << 16)
#define SCB_AIRCR__SYSRESETREQ (1u << 2)
#define SCB_SCR REGISTER(0xE000ED10u)
#define SCB_SCR__SEVONPEND (1u << 4)
#define SCB_CFSR REGISTER(0xE000ED28u)
#define SCB_CPACR REGISTER(0xE000ED88u)
#define SCB_CPACR__CP10 (3u << 20)
#define SCB_CPACR__CP11 (3u << 22)

/// Interrupt controller ///

#define NVIC_ISER(n) REGISTER(0xE000E100u + 4u * (n))
#define NVIC_ICER(n) REGISTER(0xE000E180u + 4u * (n))
#define NVIC_ICPR(n) REGISTER(0xE000E280u + 4u * (n))

/// System timer ///

#define SYST_CSR REGISTER(0xE000E010u)

/// Debug: the cycle counter ///

#define SCB_DEMCR REGISTER(0xE000EDFCu)
#define SCB_DEMCR__TRCENA (1u << 24)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CTRL__CYCCNTENA (1u << 0)
#define DWT_CYCCNT REGISTER(0xE0001004u)

#endif
