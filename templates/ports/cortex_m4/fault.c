/* A fault ends in a state that can be seen: the LED and both marker pins blink for ever, and
 * port_fault_record tells a debugger where it happened. */

#include <stdint.h>

#include "cortex_m4.h"
#include "cortex_m4_registers.h"

extern uint32_t port_stack_bottom[], port_stack_top[];

struct fault_record {
    uint32_t pc;     /* of the instruction at fault; 0 where the stack had overflowed */
    uint32_t lr;
    uint32_t status; /* SCB_CFSR */
};

__attribute__((used)) volatile struct fault_record port_fault_record;

/* The stack lies at the very bottom of RAM, so that an overflow faults at once instead of eating
 * data; the handler therefore cannot trust it and starts it again from the top. */
__attribute__((naked, noreturn, used)) void port_fault_handler(void)
{
    __asm__ volatile(
        "cpsid i\n"
        "mov r0, sp\n"
        "movw r1, #:lower16:port_stack_top\n"
        "movt r1, #:upper16:port_stack_top\n"
        "mov sp, r1\n"
        "b port_fault\n");
}

enum { FRAME_LR = 5, FRAME_PC = 6, FRAME_WORDS = 8, BLINK = 2000000 };

__attribute__((noreturn, used)) void port_fault(const uint32_t *frame)
{
    if (frame >= port_stack_bottom && frame + FRAME_WORDS <= port_stack_top) {
        port_fault_record.pc = frame[FRAME_PC];
        port_fault_record.lr = frame[FRAME_LR];
    }
    port_fault_record.status = SCB_CFSR;
    for (uint32_t on = 1;; on ^= 1) {
        port_show_fault(on);
        for (uint32_t i = 0; i < BLINK; i++) {
            __asm__ volatile("");
        }
    }
}

void port_system_reset(void)
{
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = SCB_AIRCR__VECTKEY | SCB_AIRCR__SYSRESETREQ;
    for (;;) {
        __asm__ volatile("dsb" ::: "memory");
    }
}
