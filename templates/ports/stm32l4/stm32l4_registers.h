#ifndef STM32L4_REGISTERS_H
#define STM32L4_REGISTERS_H

/* Registers of the STM32L476 and STM32L4R5 that the port uses, and their bits. Sources: reference
 * manuals RM0351 (L476) and RM0432 (L4R5), the chapter of each peripheral; a test compares every
 * address and bit here with ST's own headers for C.
 * Names: PERIPHERAL_REGISTER, PERIPHERAL_REGISTER__FIELD, PERIPHERAL_REGISTER__FIELD__VALUE. */

#include "cortex_m4_registers.h"

/// RCC: clocks ///

#define RCC_CR REGISTER(0x40021000u)
#define RCC_CR__HSION (1u << 8)
#define RCC_CR__HSIRDY (1u << 10)
#define RCC_CR__PLLON (1u << 24)
#define RCC_CR__PLLRDY (1u << 25)
#define RCC_CFGR REGISTER(0x40021008u)
#define RCC_CFGR__SW__HSI (1u << 0)
#define RCC_CFGR__SW__PLL (3u << 0)
#define RCC_CFGR__SWS (3u << 2)
#define RCC_CFGR__SWS__HSI (1u << 2)
#define RCC_CFGR__SWS__PLL (3u << 2)
#define RCC_CFGR__HPRE__DIV2 (8u << 4)
#define RCC_PLLCFGR REGISTER(0x4002100Cu) /* R stays 0: a half */
#define RCC_PLLCFGR__PLLSRC__HSI (2u << 0)
#define RCC_PLLCFGR__PLLM__0 (1u << 4) /* times one less than the divider */
#define RCC_PLLCFGR__PLLN__0 (1u << 8)
#define RCC_PLLCFGR__PLLREN (1u << 24)
#define RCC_AHB2ENR REGISTER(0x4002104Cu)
#define RCC_AHB2ENR__GPIOAEN (1u << 0) /* then GPIOBEN, GPIOCEN ... */
#define RCC_APB1ENR1 REGISTER(0x40021058u)
#define RCC_APB1ENR1__USART2EN (1u << 17)
#define RCC_APB1ENR1__PWREN (1u << 28)
#define RCC_APB1ENR2 REGISTER(0x4002105Cu)
#define RCC_APB1ENR2__LPUART1EN (1u << 0)
#define RCC_APB2ENR REGISTER(0x40021060u)
#define RCC_APB2ENR__SYSCFGEN (1u << 0)

/// PWR: the boost of the L4R5, which the L476 has not, and the supply of port G ///

#define PWR_CR2 REGISTER(0x40007004u)
#define PWR_CR2__IOSV (1u << 9)
#define PWR_CR5 REGISTER(0x40007080u)
#define PWR_CR5__R1MODE (1u << 8) /* set: no boost */

/// SYSCFG: which bank of flash lies at 0x08000000 ///

#define SYSCFG_MEMRMP REGISTER(0x40010000u)
#define SYSCFG_MEMRMP__FB_MODE (1u << 8)

/// FLASH ///

#define FLASH_ACR REGISTER(0x40022000u)
#define FLASH_ACR__LATENCY (7u << 0) /* of the L4R5's four bits, those that any clock needs */
#define FLASH_ACR__PRFTEN (1u << 8)
#define FLASH_ACR__ICEN (1u << 9)
#define FLASH_ACR__DCEN (1u << 10)
#define FLASH_ACR__DCRST (1u << 12)
#define FLASH_KEYR REGISTER(0x40022008u)
#define FLASH_KEYR__KEY__1 0x45670123u
#define FLASH_KEYR__KEY__2 0xCDEF89ABu
#define FLASH_SR REGISTER(0x40022010u)
#define FLASH_SR__EOP (1u << 0)
#define FLASH_SR__OPERR (1u << 1)
#define FLASH_SR__PROGERR (1u << 3)
#define FLASH_SR__WRPERR (1u << 4)
#define FLASH_SR__PGAERR (1u << 5)
#define FLASH_SR__SIZERR (1u << 6)
#define FLASH_SR__PGSERR (1u << 7)
#define FLASH_SR__MISERR (1u << 8)
#define FLASH_SR__FASTERR (1u << 9)
#define FLASH_SR__RDERR (1u << 14)
#define FLASH_SR__OPTVERR (1u << 15)
#define FLASH_SR__BSY (1u << 16)
#define FLASH_CR REGISTER(0x40022014u)
#define FLASH_CR__PG (1u << 0)
#define FLASH_CR__PER (1u << 1)
#define FLASH_CR__PNB__1 (1u << 3) /* times the page's number */
#define FLASH_CR__BKER (1u << 11)
#define FLASH_CR__STRT (1u << 16)
#define FLASH_CR__LOCK (1u << 31)
#define FLASH_ECCR REGISTER(0x40022018u)
#define FLASH_ECCR__ECCD (1u << 31)
#define FLASH_OPTR REGISTER(0x40022020u)
#define FLASH_OPTR__DBANK (1u << 22) /* of the L4R5 alone */

/// GPIO: ports by number, GPIOA is 0 ///

#define GPIO_MODER(port) REGISTER(0x48000000u + 0x400u * (port))
#define GPIO_MODER__OUTPUT 1u
#define GPIO_MODER__ALTERNATE 2u
#define GPIO_OSPEEDR(port) REGISTER(0x48000008u + 0x400u * (port))
#define GPIO_OSPEEDR__HIGH 2u
#define GPIO_PUPDR(port) REGISTER(0x4800000Cu + 0x400u * (port))
#define GPIO_PUPDR__PULL_UP 1u
#define GPIO_BSRR(port) REGISTER(0x48000018u + 0x400u * (port))
#define GPIO_AFRL(port) REGISTER(0x48000020u + 0x400u * (port))
#define GPIO_AFRH(port) REGISTER(0x48000024u + 0x400u * (port))

/// USART2 and LPUART1, which have the same bits ///

#define USART2_CR1 REGISTER(0x40004400u)
#define USART2_BRR REGISTER(0x4000440Cu)
#define USART2_ISR REGISTER(0x4000441Cu)
#define USART2_ICR REGISTER(0x40004420u)
#define USART2_RDR REGISTER(0x40004424u)
#define USART2_TDR REGISTER(0x40004428u)
#define USART2_IRQ 38u
#define LPUART1_CR1 REGISTER(0x40008000u)
#define LPUART1_BRR REGISTER(0x4000800Cu)
#define LPUART1_ISR REGISTER(0x4000801Cu)
#define LPUART1_ICR REGISTER(0x40008020u)
#define LPUART1_RDR REGISTER(0x40008024u)
#define LPUART1_TDR REGISTER(0x40008028u)
#define LPUART1_IRQ 70u
#define USART2_CR1__UE (1u << 0)
#define USART2_CR1__RE (1u << 2)
#define USART2_CR1__TE (1u << 3)
#define USART2_CR1__RXNEIE (1u << 5)
#define USART2_ISR__RXNE (1u << 5)
#define USART2_ISR__TC (1u << 6)
#define USART2_ISR__TXE (1u << 7)
#define USART2_ICR__ORECF (1u << 3)

#endif
