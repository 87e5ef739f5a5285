#ifndef STM32F4_REGISTERS_H
#define STM32F4_REGISTERS_H

/* Registers of the STM32F405 and STM32F446 that the port uses, and their bits. Sources: reference
 * manuals RM0090 (F405) and RM0390 (F446), the chapter of each peripheral; a test compares every
 * address and bit here with ST's SVD files.
 * Names: PERIPHERAL_REGISTER, PERIPHERAL_REGISTER__FIELD, PERIPHERAL_REGISTER__FIELD__VALUE. */

#include "cortex_m4_registers.h"

/// RCC: clocks ///

#define RCC_CR REGISTER(0x40023800u)
#define RCC_CR__HSION (1u << 0)
#define RCC_CR__HSIRDY (1u << 1)
#define RCC_CR__HSEON (1u << 16)
#define RCC_CR__HSERDY (1u << 17)
#define RCC_CR__HSEBYP (1u << 18)
#define RCC_CR__PLLON (1u << 24)
#define RCC_CR__PLLRDY (1u << 25)
#define RCC_PLLCFGR REGISTER(0x40023804u) /* P stays 0: a half */
#define RCC_PLLCFGR__PLLM0 (1u << 0)
#define RCC_PLLCFGR__PLLN0 (1u << 6)
#define RCC_PLLCFGR__PLLSRC (1u << 22) /* HSE */
#define RCC_PLLCFGR__PLLQ0 (1u << 24)
#define RCC_CFGR REGISTER(0x40023808u)
#define RCC_CFGR__SW1 (1u << 1) /* alone: PLL */
#define RCC_CFGR__SWS0 (1u << 2)
#define RCC_CFGR__SWS1 (1u << 3)
#define RCC_CFGR__PPRE1__DIV4 (5u << 10)
#define RCC_CFGR__PPRE2__DIV2 (4u << 13)
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define RCC_AHB1ENR__GPIOAEN (1u << 0) /* then GPIOBEN, GPIOCEN ... */
#define RCC_APB1ENR REGISTER(0x40023840u)
#define RCC_APB1ENR__TIM2EN (1u << 0)
#define RCC_APB1ENR__USART2EN (1u << 17)
#define RCC_APB1ENR__PWREN (1u << 28)
#define RCC_APB2ENR REGISTER(0x40023844u)
#define RCC_APB2ENR__USART1EN (1u << 4)

/// PWR: over-drive of the F446, which the F405 has not ///

#define PWR_CR REGISTER(0x40007000u)
#define PWR_CR__ODEN (1u << 16)
#define PWR_CR__ODSWEN (1u << 17)
#define PWR_CSR REGISTER(0x40007004u)
#define PWR_CSR__ODRDY (1u << 16)
#define PWR_CSR__ODSWRDY (1u << 17)

/// FLASH ///

#define FLASH_ACR REGISTER(0x40023C00u)
#define FLASH_ACR__LATENCY (7u << 0)
#define FLASH_ACR__LATENCY__5 (5u << 0)
#define FLASH_ACR__PRFTEN (1u << 8)
#define FLASH_ACR__ICEN (1u << 9)
#define FLASH_ACR__DCEN (1u << 10)
#define FLASH_ACR__DCRST (1u << 12)
#define FLASH_KEYR REGISTER(0x40023C04u)
#define FLASH_KEYR__KEY__1 0x45670123u
#define FLASH_KEYR__KEY__2 0xCDEF89ABu
#define FLASH_SR REGISTER(0x40023C0Cu)
#define FLASH_SR__EOP (1u << 0)
#define FLASH_SR__OPERR (1u << 1)
#define FLASH_SR__WRPERR (1u << 4)
#define FLASH_SR__PGAERR (1u << 5)
#define FLASH_SR__PGPERR (1u << 6)
#define FLASH_SR__PGSERR (1u << 7)
#define FLASH_SR__BSY (1u << 16)
#define FLASH_CR REGISTER(0x40023C10u)
#define FLASH_CR__PG (1u << 0)
#define FLASH_CR__SER (1u << 1)
#define FLASH_CR__SNB__1 (1u << 3) /* times the sector's number */
#define FLASH_CR__PSIZE__WORD (2u << 8)
#define FLASH_CR__STRT (1u << 16)
#define FLASH_CR__LOCK (1u << 31)

/// GPIO: ports by number, GPIOA is 0 ///

#define GPIO_MODER(port) REGISTER(0x40020000u + 0x400u * (port))
#define GPIO_MODER__OUTPUT 1u
#define GPIO_MODER__ALTERNATE 2u
#define GPIO_OSPEEDR(port) REGISTER(0x40020008u + 0x400u * (port))
#define GPIO_OSPEEDR__HIGH 2u
#define GPIO_PUPDR(port) REGISTER(0x4002000Cu + 0x400u * (port))
#define GPIO_PUPDR__PULL_UP 1u
#define GPIO_BSRR(port) REGISTER(0x40020018u + 0x400u * (port))
#define GPIO_AFRL(port) REGISTER(0x40020020u + 0x400u * (port))
#define GPIO_AFRH(port) REGISTER(0x40020024u + 0x400u * (port))

/// USART1 (on APB2) and USART2 (on APB1) ///

#define USART1_SR REGISTER(0x40011000u)
#define USART1_DR REGISTER(0x40011004u)
#define USART1_BRR REGISTER(0x40011008u)
#define USART1_CR1 REGISTER(0x4001100Cu)
#define USART1_IRQ 37u
#define USART2_SR REGISTER(0x40004400u)
#define USART2_DR REGISTER(0x40004404u)
#define USART2_BRR REGISTER(0x40004408u)
#define USART2_CR1 REGISTER(0x4000440Cu)
#define USART2_IRQ 38u
#define USART1_SR__RXNE (1u << 5)
#define USART1_SR__TC (1u << 6)
#define USART1_SR__TXE (1u << 7)
#define USART1_CR1__RE (1u << 2)
#define USART1_CR1__TE (1u << 3)
#define USART1_CR1__RXNEIE (1u << 5)
#define USART1_CR1__UE (1u << 13)

/// TIM2: 32 bits ///

#define TIM2_CR1 REGISTER(0x40000000u)
#define TIM2_CR1__CEN (1u << 0)
#define TIM2_CNT REGISTER(0x40000024u)
#define TIM2_ARR REGISTER(0x4000002Cu)

#endif
