/* Flash by remote control. A request is a letter, an address and a value (little-endian words);
 * the answer is a word. It leaves all judgement to the tests. */

#include "registers.h"

static uint32_t word(void)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < 4; i++) {
        value |= (uint32_t)receive() << 8 * i;
    }
    return value;
}

int main(void)
{
    marker_init();
    serial_init();
    for (;;) {
        uint8_t command = receive();
        uint32_t address = word(), value = word(), answer = 0;
        if (command == 'r') {
            answer = R(address);
        } else if (command == 'w') {
            R(address) = value;
        } else if (command == 'h') {
            *(volatile uint16_t *)address = (uint16_t)value;
        } else if (command == 'p') { /* post-indexed: the address must move on */
            uint32_t at = address;
            __asm__ volatile("str %1, [%0], #4" : "+r"(at) : "r"(value) : "memory");
            answer = at - address;
        } else if (command == 'x') { /* store, then read back in the same block */
            __asm__ volatile("str %1, [%2]\n ldr %0, [%2]\n"
                             : "=&r"(answer)
                             : "r"(value), "r"(address)
                             : "memory");
        }
        send(&answer, 4);
    }
}
