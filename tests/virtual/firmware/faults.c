/* One fault per letter, on an nRF52840. */

#include "registers.h"

__attribute__((noinline)) static void undefined_instruction(void)
{
    __asm__ volatile("nop\n udf #0");
}

__attribute__((noinline)) static void reads_nothing(void)
{
    (void)R(0x60000000u);
}

__attribute__((noinline)) static void writes_nothing(void)
{
    R(0x60000000u) = 1;
}

__attribute__((noinline)) static void jumps_into_nothing(void)
{
    ((void (*)(void))0x60000001u)();
    __asm__ volatile(""); /* no tail call */
}

__attribute__((noinline)) static void jumps_into_empty_flash(void)
{
    ((void (*)(void))0x1001u)();
    __asm__ volatile("");
}

__attribute__((noinline)) static void jumps_into_data(void)
{
    static uint16_t data[8] = {0x4770};
    ((void (*)(void))((uint32_t)data | 1u))();
    __asm__ volatile("");
}

__attribute__((noinline)) static void uses_unmodelled_peripheral(void)
{
    (void)R(0x40003000u);
}

__attribute__((noinline)) static void uses_unmodelled_register(void)
{
    (void)R(0x50000524u); /* P0.DETECTMODE */
}

__attribute__((noinline)) static void uses_half_a_register(void)
{
    *(volatile uint16_t *)0x50000504u = 0;
}

static volatile uint32_t for_ever = 1;

__attribute__((noinline)) static uint32_t overflows_the_stack(uint32_t depth)
{
    volatile uint32_t frame[64];
    frame[depth % 64] = depth;
    return for_ever ? overflows_the_stack(depth + 1) + frame[0] : 0;
}

__attribute__((noinline)) static void calls_supervisor(void)
{
    __asm__ volatile("svc #0");
}

__attribute__((noinline)) static void programs_itself(void)
{
    R(0x4001E504u) = 1;
    R(0x00001000u) = 0;
}

__attribute__((noinline)) static void sends_from_flash(void)
{
    R(0x40002544u) = 0x100;
    R(0x40002548u) = 4;
    R(0x40002008u) = 1;
}

/* forward: the pins, two additions, and a fault that hides the rest of the block */
__attribute__((noinline)) static void faults_in_the_middle(void)
{
    __asm__ volatile("ldr r0, =%c[marker]\n ldr r1, =%c[on]\n mov r2, #0x60000000\n"
                     "str r1, [r0]\n add r3, r1, r1\n add r3, r1, r1\n ldr r3, [r2]\n"
                     "add r3, r1, r1\n add r3, r1, r1\n add r3, r1, r1\n"
                     :
                     : [marker] "i"(MARKER), [on] "i"(MARK(1))
                     : "r0", "r1", "r2", "r3", "memory");
}

int main(void)
{
    marker_init();
    serial_init();
    for (;;) {
        switch (receive()) {
        case 'u':
            undefined_instruction();
            break;
        case 'r':
            reads_nothing();
            break;
        case 'w':
            writes_nothing();
            break;
        case 'j':
            jumps_into_nothing();
            break;
        case 'k':
            jumps_into_empty_flash();
            break;
        case 'd':
            jumps_into_data();
            break;
        case 'p':
            uses_unmodelled_peripheral();
            break;
        case 'q':
            uses_unmodelled_register();
            break;
        case 'h':
            uses_half_a_register();
            break;
        case 's':
            overflows_the_stack(0);
            break;
        case 'v':
            calls_supervisor();
            break;
        case 'f':
            programs_itself();
            break;
        case 't':
            sends_from_flash();
            break;
        case 'm':
            faults_in_the_middle();
            break;
        case 'e':
            send("alive", 5);
            break;
        case 'z':
            R(0xE000ED0Cu) = 0x05FA0004u; /* reset */
            break;
        case 'l':
            for (;;) {
            }
        }
    }
}
