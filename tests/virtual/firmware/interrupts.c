/* Interrupts on an STM32F4. Each received byte interrupts a computation with floats; the handler
 * uses floats too. Orders of nested and chained handlers are noted as letters. */

#include "registers.h"

#define USART1_IRQ 37
#define LOW_IRQ 28  /* TIM2's number, pended by software */
#define HIGH_IRQ 29 /* TIM3's */

extern uint32_t stack_top[];
void reset(void);

static volatile uint32_t arrived;
static volatile uint8_t ring[64];
static volatile float filtered;
static uint8_t order[32];
static volatile uint32_t noted;

static void note(char what)
{
    order[noted++ % sizeof order] = (uint8_t)what;
}

static void pend(uint32_t interrupt)
{
    R(0xE000E200u + interrupt / 32 * 4) = 1u << interrupt % 32;
    __asm__ volatile("dsb\n isb" ::: "memory");
}

/* Overwrites all floating-point registers that a callee may, and the flags. */
static void spoil_floats(void)
{
    __asm__ volatile("vmov s0, %0\n vmov s1, %0\n vmov s2, %0\n vmov s3, %0\n vmov s4, %0\n"
                     "vmov s5, %0\n vmov s6, %0\n vmov s7, %0\n vmov s8, %0\n vmov s9, %0\n"
                     "vmov s10, %0\n vmov s11, %0\n vmov s12, %0\n vmov s13, %0\n vmov s14, %0\n"
                     "vmov s15, %0\n vcmp.f32 s0, #0.0\n vmsr fpscr, %1\n"
                     :
                     : "r"(0x7FC00001), "r"(0xF0000000)
                     : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",
                       "s12", "s13", "s14", "s15", "cc");
}

static void usart1_handler(void)
{
    while (R(0x40011000u) & 1u << 5) {
        ring[arrived++ % sizeof ring] = (uint8_t)R(0x40011004u);
        filtered = filtered * 0.75f + (float)arrived;
    }
    spoil_floats();
}

static void low_handler(void)
{
    note('l');
    pend(HIGH_IRQ); /* nests */
    pend(USART1_IRQ); /* as urgent as this one: chains */
    note('L');
}

static void high_handler(void)
{
    note('h');
    spoil_floats();
    note('H');
}

static void chained_handler(void)
{
    if (noted > 0) {
        note('u');
    }
    usart1_handler();
}

/* In RAM, where VTOR sends the processor. */
static void (*vectors[64])(void) __attribute__((aligned(256)));

/* Every register of the calling convention lives across the loop. */
__attribute__((noinline)) static float compute(uint32_t rounds)
{
    float a = 1.0f, b = 0.5f, c = 0.25f, d = -1.0f, e = 3.0f, f = 0.125f, g = 2.0f, h = -0.75f;
    for (uint32_t i = 0; i < rounds; i++) {
        a = a * 0.5f + b * 0.375f + 0.01f;
        b = b * 0.5f - c * 0.375f + 0.02f;
        c = c * 0.5f + d * 0.375f + 0.03f;
        d = d * 0.5f - e * 0.375f + 0.04f;
        e = e * 0.5f + f * 0.375f + 0.05f;
        f = f * 0.5f - g * 0.375f + 0.06f;
        g = g * 0.5f + h * 0.375f + 0.07f;
        h = h * 0.5f - a * 0.375f + 0.08f;
        __asm__ volatile("vcmp.f32 %0, %1\n vmrs apsr_nzcv, fpscr\n ite gt\n"
                         "vmovgt.f32 %0, %1\n vmovle.f32 %1, %0\n"
                         : "+t"(a), "+t"(b)
                         :
                         : "cc");
    }
    return a + b + c + d + e + f + g + h;
}

static void run(uint8_t command)
{
    if (command == '?') {
        send("!", 1);
    } else if (command == 'c') { /* the answer must not depend on how many interrupts come meanwhile */
        uint32_t before = arrived;
        float result = compute(20000);
        uint32_t answer[2] = {0, arrived - before};
        __builtin_memcpy(answer, &result, 4);
        send(answer, sizeof answer);
    } else if (command == 'n') { /* nesting, chaining */
        noted = 0;
        pend(LOW_IRQ);
        note('.');
        send(order, noted);
    } else if (command == 'm') { /* masked until allowed, by PRIMASK and by BASEPRI */
        noted = 0;
        __asm__ volatile("cpsid i" ::: "memory");
        pend(HIGH_IRQ);
        note('1');
        __asm__ volatile("cpsie i\n isb" ::: "memory");
        note('2');
        __asm__ volatile("msr basepri, %0\n isb" ::"r"(0x10) : "memory");
        pend(HIGH_IRQ);
        note('3');
        __asm__ volatile("msr basepri, %0\n isb" ::"r"(0) : "memory");
        note('4');
        send(order, noted);
    } else if (command == 's') { /* the stack is as before, aligned or not */
        uint32_t answer[3];
        __asm__ volatile("mov %0, sp\n mrs %2, control\n sub sp, #4\n mov r0, %3\n str r0, [%4]\n"
                         "dsb\n isb\n add sp, #4\n mov %1, sp\n"
                         : "=&r"(answer[0]), "=&r"(answer[1]), "=&r"(answer[2])
                         : "r"(1u << HIGH_IRQ), "r"(0xE000E200u)
                         : "r0", "memory");
        answer[2] = answer[0] - answer[1];
        send(&answer[2], 4);
    }
}

int main(void)
{
    marker_init();
    serial_init();
    for (uint32_t i = 0; i < 64; i++) {
        vectors[i] = reset;
    }
    vectors[16 + USART1_IRQ] = chained_handler;
    vectors[16 + LOW_IRQ] = low_handler;
    vectors[16 + HIGH_IRQ] = high_handler;
    R(0xE000ED08u) = (uint32_t)vectors;
    *(volatile uint8_t *)(0xE000E400u + USART1_IRQ) = 0x40;
    *(volatile uint8_t *)(0xE000E400u + LOW_IRQ) = 0x40;
    *(volatile uint8_t *)(0xE000E400u + HIGH_IRQ) = 0x10;
    R(0xE000E100u) = 1u << LOW_IRQ | 1u << HIGH_IRQ;
    R(0xE000E104u) = 1u << (USART1_IRQ - 32);
    R(0x4001100Cu) |= 1u << 5; /* RXNEIE */
    uint32_t taken = 0;
    for (;;) {
        __asm__ volatile("cpsid i" ::: "memory");
        if (taken == arrived) {
            __asm__ volatile("wfi" ::: "memory");
        }
        __asm__ volatile("cpsie i" ::: "memory");
        while (taken != arrived) {
            run(ring[taken++ % sizeof ring]);
        }
    }
}
