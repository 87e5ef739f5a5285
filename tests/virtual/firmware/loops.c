/* Four phases whose instructions are counted by hand: see test_counts.py. Then it sleeps. */

#include "registers.h"

uint32_t cycles[2]; /* CYCCNT before and after the third phase */

#ifdef IN_RAM
__attribute__((section(".ramcode"), noinline, long_call))
#endif
static void loops(void);

int main(void)
{
    loops();
    return 0;
}

static void loops(void)
{
    marker_init();
    R(0xE000EDFCu) = 1u << 24; /* DEMCR.TRCENA */
    R(0xE0001000u) = 1;        /* DWT_CTRL.CYCCNTENA */
    __asm__ volatile(
        "ldr r1, =%c[forward]\n ldr r2, =%c[backward]\n ldr r3, =%c[update]\n"
        "ldr r5, =%c[idle]\n ldr r6, =cycles\n ldr r7, =0xE0001004\n ldr r8, =1000\n"

        /* forward: 1000 times (add, subs, bne), a move, and both ends of it */
        "str r1, [%[marker]]\n"
        "mov r0, r8\n"
        "1: add r4, r4, r0\n subs r0, #1\n bne 1b\n"

        /* backward: floats, a call, an IT block of which half is skipped, a table branch */
        "str r2, [%[marker]]\n"
        "vmov s0, r8\n vcvt.f32.u32 s0, s0\n vdiv.f32 s1, s0, s0\n vmul.f32 s2, s0, s1\n"
        "bl 2f\n"
        "b 3f\n"
        "2: cmp r0, #0\n ite eq\n moveq r0, #1\n movne r0, #2\n bx lr\n"
        "3: tbb [pc, r0]\n"
        "4: .byte (5f - 4b) / 2, (5f - 4b) / 2, 0, 0\n"
        "5:\n"

        /* update: reads the cycle counter twice, nine additions between */
        "str r3, [%[marker]]\n"
        "ldr r0, [r7]\n"
        ".rept 9\n add r4, r4, r0\n .endr\n"
        "ldr r1, [r7]\n"
        "str r5, [%[marker]]\n"
        "strd r0, r1, [r6]\n"
        :
        : [marker] "r"(MARKER), [forward] "i"(MARK(1)), [backward] "i"(MARK(2)),
          [update] "i"(MARK(3)), [idle] "i"(MARK(0))
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "lr", "s0", "s1", "s2", "cc",
          "memory");
}
