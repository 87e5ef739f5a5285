/* From reset to main(). Nothing of the C library takes part. */

#include <stdint.h>

#include "cortex_m4.h"
#include "cortex_m4_registers.h"
#include "port.h"

extern uint32_t port_stack_bottom[], port_stack_top[];
extern uint32_t port_data_start[], port_data_end[];
extern const uint32_t port_data_load[];
extern uint32_t port_bss_start[], port_bss_end[];

int main(void);

/// Vector table ///

typedef void (*handler)(void);

/* Arm DDI 0403E, section B1.5.3. The chip's interrupts follow in .vectors.interrupts. No system
 * exception is used, so each of them is a fault. */
__attribute__((section(".vectors"), used)) static const struct {
    const uint32_t *stack;
    handler handlers[15];
} vectors = {
    port_stack_top,
    {
        port_reset_handler, /* reset */
        port_fault_handler, /* NMI */
        port_fault_handler, /* HardFault */
        port_fault_handler, /* MemManage */
        port_fault_handler, /* BusFault */
        port_fault_handler, /* UsageFault */
        0, 0, 0, 0,
        port_fault_handler, /* SVCall */
        port_fault_handler, /* DebugMonitor */
        0,
        port_fault_handler, /* PendSV */
        port_fault_handler, /* SysTick */
    },
};

/// Reset ///

/* Before C may use the stack: paint it, so that its high-water mark can be read later, and set the
 * stack pointer, which a boot loader may have left elsewhere. */
__attribute__((naked, noreturn, used)) void port_reset_handler(void)
{
    __asm__ volatile(
        "cpsid i\n"
        "movw r0, #:lower16:port_stack_bottom\n"
        "movt r0, #:upper16:port_stack_bottom\n"
        "movw r1, #:lower16:port_stack_top\n"
        "movt r1, #:upper16:port_stack_top\n"
        "movw r2, #0xA5C3\n" /* STACK_PAINT */
        "movt r2, #0xC3A5\n"
        "1: str r2, [r0], #4\n"
        "cmp r0, r1\n"
        "blo 1b\n"
        "mov sp, r1\n"
        "b port_start\n");
}

/* A boot loader may leave interrupts and the system timer running: silence them first. */
__attribute__((noreturn, used)) void port_start(void)
{
    SYST_CSR = 0;
    for (uint32_t i = 0; i < 8; i++) {
        NVIC_ICER(i) = 0xFFFFFFFFu;
        NVIC_ICPR(i) = 0xFFFFFFFFu;
    }
    SCB_VTOR = (uint32_t)(uintptr_t)&vectors;
    SCB_CPACR |= SCB_CPACR__CP10 | SCB_CPACR__CP11;
    __asm__ volatile("dsb\n isb" ::: "memory"); /* the FPU is usable from here */

    const uint32_t *from = port_data_load;
    for (uint32_t *to = port_data_start; to < port_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = port_bss_start; to < port_bss_end; to++) {
        *to = 0;
    }
    __asm__ volatile("cpsie i" ::: "memory");
    main();
    port_reboot();
    for (;;) {
    }
}

/// Stack ///

#define STACK_PAINT 0xC3A5A5C3u

uint32_t port_stack_bytes(void)
{
    return (uint32_t)((uintptr_t)port_stack_top - (uintptr_t)port_stack_bottom);
}

uint32_t port_stack_used(void)
{
    const volatile uint32_t *word = port_stack_bottom;
    while (word < port_stack_top && *word == STACK_PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)port_stack_top - (uintptr_t)word);
}
