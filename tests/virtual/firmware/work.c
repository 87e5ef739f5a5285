/* A mixture of what compilers make of C: floats of every kind, divisions, 64-bit sums, shifts,
 * switches, function pointers, block copies, saturation. Sends TIM2's count around it and a digest
 * of all results. On QEMU (-icount shift=0) TIM2 counts instructions. */

#include "registers.h"

#define TIM2_CNT R(0x40000024u)

static uint32_t digest = 2166136261u;
static float table[64];
static uint8_t copies[2][300];

static void note(uint32_t value)
{
    digest = (digest ^ value) * 16777619u;
    digest ^= digest >> 15;
}

static void note_float(float value)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    note(bits);
}

static float square_root(float x)
{
    __asm__("vsqrt.f32 %0, %0" : "+t"(x));
    return x;
}

static float fused(float a, float b, float c)
{
    __asm__("vfma.f32 %0, %1, %2" : "+t"(c) : "t"(a), "t"(b));
    return c;
}

__attribute__((noinline)) static void floats(uint32_t seed)
{
    for (uint32_t i = 0; i < 64; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint32_t bits = seed ^ seed >> 7; /* any pattern: denormals, infinities, NaN */
        float x;
        __builtin_memcpy(&x, &bits, 4);
        float y = (float)(int32_t)seed * 1.1920929e-7f;
        float product = x * y, quotient = x / y, sum = x + y, difference = y - x;
        note_float(product);
        note_float(quotient);
        note_float(sum);
        note_float(difference);
        note_float(square_root(y * y));
        note_float(fused(x, y, sum));
        note_float(x < y ? -x : y);
        float clamped = y > 100.0f ? 100.0f : y < -100.0f ? -100.0f : y;
        note((uint32_t)(int32_t)clamped);
        table[i] = clamped;
    }
    float dot = 0.0f;
    for (uint32_t i = 0; i < 64; i++) {
        dot += table[i] * table[63 - i];
    }
    note_float(dot);
}

__attribute__((noinline)) static uint32_t choose(uint32_t which, uint32_t value)
{
    switch (which % 9) {
    case 0:
        return value / 7u;
    case 1:
        return value % 1000u;
    case 2:
        return (uint32_t)((int32_t)value / -13);
    case 3:
        return value << (value & 31u) | value >> (32u - (value & 31u)) % 32u;
    case 4:
        return (uint32_t)((uint64_t)value * 0x9E3779B97F4A7C15ull >> 32);
    case 5:
        return (uint32_t)__builtin_clz(value | 1u);
    case 6:
        return value > 0x80000000u ? ~value : value;
    case 7:
        return (uint32_t)(int8_t)value;
    default:
        return value ^ 0xDEADBEEFu;
    }
}

static uint32_t (*const by_pointer)(uint32_t, uint32_t) = choose;

__attribute__((noinline)) static void integers(uint32_t seed)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < 500; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint32_t value = (i & 1u ? choose : by_pointer)(i, seed);
        total += (uint64_t)value * value;
        note(value);
    }
    note((uint32_t)total);
    note((uint32_t)(total >> 32));
}

__attribute__((noinline)) static void copy(uint8_t *to, const uint8_t *from, uint32_t count)
{
    while (count-- > 0) {
        *to++ = *from++;
    }
}

__attribute__((noinline)) static void work(void)
{
    floats(1);
    floats(77);
    integers(12345);
    for (uint32_t i = 0; i < 300; i++) {
        copies[0][i] = (uint8_t)(i * 7u);
    }
    copy(copies[1] + 1, copies[0] + 3, 290);
    for (uint32_t i = 0; i < 300; i++) {
        note(copies[1][i]);
    }
}

/* Nothing may come between the store to the marker pins and the load of the counter. */
__attribute__((naked, noinline)) static void measured(__attribute__((unused)) uint32_t *counts)
{
    __asm__ volatile(
        "push {r4-r8, lr}\n"
        "mov r4, r0\n ldr r5, =0x40000024\n ldr r6, =%c[marker]\n ldr r7, =%c[on]\n"
        "ldr r8, =%c[off]\n"
        "str r7, [r6]\n ldr r0, [r5]\n str r0, [r4]\n"
        "bl work\n"
        "str r8, [r6]\n ldr r0, [r5]\n str r0, [r4, #4]\n"
        "pop {r4-r8, pc}\n .ltorg\n"
        :
        : [marker] "i"(MARKER), [on] "i"(MARK(1)), [off] "i"(MARK(0)));
}

__attribute__((used)) static void (*const keep)(void) = work;

int main(void)
{
    marker_init();
    serial_init();
    R(0x40023840u) |= 1; /* TIM2's clock */
    R(0x4000002Cu) = 0xFFFFFFFFu;
    R(0x40000000u) = 1;
    for (;;) {
        uint32_t answer[3] = {0, 0, 0};
        if (receive() != 'w') {
            continue;
        }
        digest = 2166136261u;
        measured(answer);
        answer[2] = digest;
        send(answer, sizeof answer);
    }
}
