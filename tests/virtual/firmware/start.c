/* From reset to main(), for the images of these tests. The chip's only interrupt in use, if any,
 * is handler INTERRUPT. */

#include <stdint.h>

extern uint32_t stack_top[], data_start[], data_end[], bss_start[], bss_end[];
extern const uint32_t data_load[];

int main(void);
void reset(void);

#ifdef INTERRUPT
void interrupt(void);
#define HANDLER interrupt
#else
#define INTERRUPT 0
#define HANDLER 0
#endif

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*system[15])(void);
    void (*interrupts[INTERRUPT + 1])(void);
} vectors = {stack_top, {reset}, {[INTERRUPT] = HANDLER}};

void reset(void)
{
#ifndef WITHOUT_FPU
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end; to++) {
        *to = 0;
    }
    main();
    for (;;) {
        __asm__ volatile("wfi");
    }
}
