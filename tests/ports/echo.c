/* A firmware that puts every function of port.h to use, for the tests of the ports: it answers
 * commands of one letter. Numbers are 32 bits, little-endian. */

#include <string.h>

#include "cortex_m4.h"
#include "port.h"

#ifdef PORT_FLASH_UNIT
enum { UNIT = PORT_FLASH_UNIT };
#else
enum { UNIT = 4 };
#endif

static const uint8_t greeting[] = "hello from flash";
static uint32_t counters[4] = {1, 2, 3, 4}; /* .data: reset must bring back these values */
static uint32_t total;                      /* .bss: reset must bring back 0 */

static uint8_t take_byte(void)
{
    uint8_t byte;
    while (port_receive(&byte, 1) == 0) {
        port_idle();
    }
    return byte;
}

static uint32_t take_number(void)
{
    uint32_t number = 0;
    for (uint32_t i = 0; i < 4; i++) {
        number |= (uint32_t)take_byte() << (8 * i);
    }
    return number;
}

static void send_number(uint32_t number)
{
    uint8_t bytes[4];
    for (uint32_t i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(number >> (8 * i));
    }
    port_send(bytes, sizeof bytes);
}

/* 'i': what the port says of itself. */
static void inform(void)
{
    uint32_t start = port_cycles();
    for (uint32_t i = 0; i < 1000; i++) {
        __asm__ volatile("");
    }
    send_number(port_cycles() - start);
    send_number(port_clock_hz());
    send_number(port_clock_source());
    send_number(port_stack_bytes());
    send_number(port_stack_used());
    send_number(port_flash_bytes(PORT_SLOT_0));
    for (uint32_t i = 0; i < 4; i++) {
        send_number(counters[i]++);
    }
    send_number(total++);
}

/* 'e' count bytes: sends them back, after it has all of them. */
static void echo(void)
{
    uint8_t bytes[600];
    uint32_t count = take_number(), have = 0;
    while (have < count) {
        uint32_t more = port_receive(bytes + have, count - have);
        if (more == 0) {
            port_idle();
        }
        have += more;
    }
    port_send(bytes, count);
}

/* 'w' slot offset word: writes it to the store, with ones behind it to a whole unit. 'x' slot: erases. 'g' slot offset: reads a word. */
static void write_store(void)
{
    uint32_t slot = take_number(), offset = take_number(), words[UNIT / 4];
    memset(words, 0xFF, sizeof words);
    words[0] = take_number();
    send_number((uint32_t)port_flash_write(slot, offset, words, sizeof words));
}

static void read_store(void)
{
    uint32_t slot = take_number(), offset = take_number(), word;
    memcpy(&word, port_flash(slot) + offset, sizeof word);
    send_number(word);
}

/* 'y' to from count: memmove within 64 bytes 0..63, then all of them. 'z' the same with memcpy and
 * memset: copies count bytes from offset `from` to offset `to` of a cleared second buffer. */
static void move(uint8_t command)
{
    uint8_t a[64], b[64];
    uint32_t to = take_number(), from = take_number(), count = take_number();
    for (uint32_t i = 0; i < sizeof a; i++) {
        a[i] = (uint8_t)i;
    }
    memset(b, 0xEE, sizeof b);
    if (command == 'y') {
        memmove(a + to, a + from, count);
        port_send(a, sizeof a);
    } else {
        memcpy(b + to, a + from, count);
        port_send(b, sizeof b);
    }
    send_number((uint32_t)memcmp(a, b, sizeof a));
}

/* 'd' a b: their float product and square root, and the 64-bit quotient of a << 32 by b. */
static void compute(void)
{
    uint32_t a = take_number(), b = take_number();
    float product = (float)a * (float)b;
    float root = __builtin_sqrtf(product);
    uint32_t bits;
    memcpy(&bits, &product, sizeof bits);
    send_number(bits);
    memcpy(&bits, &root, sizeof bits);
    send_number(bits);
    uint64_t quotient = ((uint64_t)a << 32) / b;
    send_number((uint32_t)quotient);
    send_number((uint32_t)(quotient >> 32));
}

/* 'o': more stack than there is. */
static uint32_t deeper(volatile uint32_t *above)
{
    volatile uint32_t here[64];
    here[0] = above[0] + 1;
    return here[0] == 0 ? 0 : deeper(here) + here[0];
}

int main(void)
{
    port_init();
    for (;;) {
        uint8_t command = take_byte();
        if (command == 'i') {
            inform();
        } else if (command == 'e') {
            echo();
        } else if (command == 'h') {
            port_send(greeting, sizeof greeting - 1);
        } else if (command == 'w') {
            write_store();
        } else if (command == 'x') {
            send_number((uint32_t)port_flash_erase(take_number()));
        } else if (command == 'b') {
            send_number(port_flash_boot_loader());
        } else if (command == 'l') {
            port_show_fault(take_number());
            send_number(0);
        } else if (command == 'g') {
            read_store();
        } else if (command == 'y' || command == 'z') {
            move(command);
        } else if (command == 'd') {
            compute();
        } else if (command == 'm') {
            port_mark(take_number());
            send_number(0);
        } else if (command == 'r') {
            port_send(&command, 1);
            port_reboot();
        } else if (command == 'f') {
            *(volatile uint32_t *)(uintptr_t)take_number() = 0;
        } else if (command == 'o') {
            send_number(deeper(&total));
        }
    }
}
