/* After an 's' this does not look at the receiver for a while; then it sends the byte that is
 * there, and a plus sign if others were lost. */

#include "registers.h"

int main(void)
{
    serial_init();
    for (;;) {
        if (receive() != 's') {
            continue;
        }
        for (volatile uint32_t i = 0; i < 10000; i++) {
        }
        uint32_t status = R(0x40011000u);
        uint8_t answer[2] = {(uint8_t)R(0x40011004u), status & 1u << 3 ? '+' : '-'};
        send(answer, sizeof answer);
    }
}
