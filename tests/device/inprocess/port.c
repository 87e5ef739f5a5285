/* A port for a server that a test drives as a library: memory is the line, memory is the flash.
 *
 * The flash belongs to the test, so it outlives this instance as flash outlives a reset. `power`
 * is the number of flash operations (an erase, a unit of PORT_FLASH_UNIT bytes) until the power fails: that operation is
 * done in part, as `torn` says, and nothing after it has any effect.
 */
#include <string.h>

#include "port.h"
#include "server.h"
#include "store.h"

enum { SENT = 1 << 20 };

static const uint8_t *arrived;
static uint32_t arrived_bytes;
static uint8_t sent[SENT];
static uint32_t sent_bytes;
static uint32_t cycles, reboots, torn;
static uint8_t *flash;
static uint32_t slot_bytes;
static int64_t power = INT64_MAX;
static uint32_t operations, reprogrammed;
static uint32_t boot_loader = PORT_NO_BOOT_LOADER;

/// What the test calls ///

void test_flash(uint8_t *memory, uint32_t bytes, int64_t operations_left, uint32_t torn_bits)
{
    flash = memory;
    slot_bytes = bytes;
    power = operations_left;
    torn = torn_bits;
}

void test_boot_loader(uint32_t address)
{
    boot_loader = address;
}

/* Gives the server `count` bytes; returns how many it sent, which lie at `*reply`. */
uint32_t test_exchange(const uint8_t *bytes, uint32_t count, const uint8_t **reply)
{
    arrived = bytes;
    arrived_bytes = count;
    sent_bytes = 0;
    server_poll();
    *reply = sent;
    return sent_bytes;
}

uint32_t test_reboots(void)
{
    return reboots;
}

uint32_t test_operations(void)
{
    return operations;
}

/* Units that were programmed without having been erased: NOR flash forbids it. */
uint32_t test_reprogrammed(void)
{
    return reprogrammed;
}

/// Port ///

void port_init(void)
{
}

uint32_t port_receive(uint8_t *to, uint32_t capacity)
{
    uint32_t count = arrived_bytes < capacity ? arrived_bytes : capacity;
    memcpy(to, arrived, count);
    arrived += count;
    arrived_bytes -= count;
    return count;
}

void port_send(const uint8_t *from, uint32_t count)
{
    if (count > SENT - sent_bytes)
        __builtin_trap();
    memcpy(sent + sent_bytes, from, count);
    sent_bytes += count;
}

void port_idle(void)
{
}

uint32_t port_cycles(void)
{
    return cycles += 0x10000001u; /* wraps often */
}

uint32_t port_clock_hz(void)
{
    return 1000000u;
}

uint8_t port_clock_source(void)
{
    return 1;
}

void port_mark(uint32_t phase)
{
    (void)phase;
}

uint32_t port_flash_bytes(uint32_t region)
{
    return region <= PORT_SLOT_1 ? slot_bytes : 0;
}

const uint8_t *port_flash(uint32_t slot)
{
    return flash + slot * slot_bytes;
}

uint32_t port_flash_boot_loader(void)
{
    return boot_loader;
}

int port_flash_erase(uint32_t slot)
{
    uint8_t *at = flash + slot * slot_bytes;
    if (boot_loader != PORT_NO_BOOT_LOADER)
        return PORT_FLASH_TAKEN;
    operations++;
    if (--power < 0)
        return -1;
    if (power == 0) { /* some cells are erased already, some not yet */
        for (uint32_t i = 0; i < slot_bytes; i++)
            at[i] |= (uint8_t)(torn >> i % 24);
        return -1;
    }
    memset(at, 0xff, slot_bytes);
    return 0;
}

int port_flash_write(uint32_t slot, uint32_t offset, const void *from, uint32_t count)
{
    if ((offset | count) % PORT_FLASH_UNIT != 0)
        return PORT_FLASH_RANGE;
    for (uint32_t i = 0; i < count; i += PORT_FLASH_UNIT) {
        uint8_t *at = flash + slot * slot_bytes + offset + i;
        uint32_t erased = 1;
        operations++;
        if (--power < 0)
            return -1;
        for (uint32_t j = 0; j < PORT_FLASH_UNIT; j += 4) {
            uint32_t word, old;
            memcpy(&word, (const uint8_t *)from + i + j, 4);
            memcpy(&old, at + j, 4);
            erased &= old == 0xffffffffu;
            old &= power == 0 ? word | torn : word;
            memcpy(at + j, &old, 4);
        }
        reprogrammed += !erased;
        if (power == 0)
            return -1;
    }
    return 0;
}

uint32_t port_stack_bytes(void)
{
    return 2048;
}

uint32_t port_stack_used(void)
{
    return 512;
}

void port_reboot(void)
{
    reboots++;
}
