#include "store.h"

#include <string.h>

#include "bytes.h"
#include "crc32.h"
#include "net.h"
#include "port.h"

enum {
    MAGIC = 0x53444f54, /* "TODS" */
    VERSION = 1,
    SLOTS = 2, /* PORT_SLOT_0 and PORT_SLOT_1 */

    UNIT = PORT_FLASH_UNIT, /* bytes of flash that are programmed at a time */

    AT_MAGIC = 0,
    AT_VERSION = UNIT, /* behind the unit of the magic */
    AT_MODEL = AT_VERSION + 4,
    AT_GENERATION = AT_VERSION + 12,
    AT_STEPS = AT_VERSION + 16,
    AT_BYTES = AT_VERSION + 20,
    AT_CRC = AT_VERSION + 24,
    HEADER = (AT_CRC + 4 + UNIT - 1) / UNIT * UNIT,

    PIECE = 64, /* bytes written at a time; the stack holds them */
};

_Static_assert(PIECE % UNIT == 0 && UNIT % 4 == 0, "a piece is whole units, a unit whole words");

static uint32_t padded(uint32_t bytes)
{
    return (bytes + UNIT - 1u) / UNIT * UNIT;
}

static uint32_t payload_bytes(void)
{
    uint32_t bytes = 0;
    const uint32_t parameters = NET_PARAMETERS;
    for (uint32_t i = 0; i < parameters; i++)
        bytes += padded(net_parameters[i].bytes);
    return bytes;
}

uint32_t store_bytes_needed(void)
{
    return HEADER + payload_bytes();
}

/// Reading ///

static uint32_t slot_crc(const uint8_t *slot)
{
    uint32_t crc = crc32_update(0, slot + AT_VERSION, AT_CRC - AT_VERSION);
    return crc32_update(crc, slot + HEADER, payload_bytes());
}

static int is_good(const uint8_t *slot)
{
    return get_u32(slot + AT_MAGIC) == MAGIC && get_u32(slot + AT_VERSION) == VERSION &&
           memcmp(slot + AT_MODEL, net_model_id, sizeof net_model_id) == 0 &&
           get_u32(slot + AT_BYTES) == payload_bytes() &&
           get_u32(slot + AT_CRC) == slot_crc(slot);
}

/* The number of the newest good slot, or STORE_EMPTY. */
static int newest(void)
{
    int found = STORE_EMPTY;
    uint32_t generation = 0;
    if (store_bytes_needed() > port_flash_bytes(PORT_SLOT_0))
        return STORE_EMPTY;
    for (int number = 0; number < SLOTS; number++) {
        const uint8_t *slot = port_flash((uint32_t)number);
        if (!is_good(slot))
            continue;
        uint32_t candidate = get_u32(slot + AT_GENERATION);
        if (found < 0 || (int32_t)(candidate - generation) > 0) {
            found = number;
            generation = candidate;
        }
    }
    return found;
}

static void describe(const uint8_t *slot, store_record *record)
{
    record->generation = get_u32(slot + AT_GENERATION);
    record->steps = get_u32(slot + AT_STEPS);
}

int store_find(store_record *record)
{
    int number = newest();
    if (number < 0)
        return STORE_EMPTY;
    describe(port_flash((uint32_t)number), record);
    return STORE_OK;
}

int store_restore(store_record *record)
{
    int number = newest();
    if (number < 0)
        return STORE_EMPTY;
    const uint8_t *slot = port_flash((uint32_t)number);
    const uint8_t *from = slot + HEADER;
    const uint32_t parameters = NET_PARAMETERS;
    for (uint32_t i = 0; i < parameters; i++) {
        memcpy(net_parameters[i].data, from, net_parameters[i].bytes);
        from += padded(net_parameters[i].bytes);
    }
    describe(slot, record);
    return STORE_OK;
}

/// Writing ///

/* Writes `bytes` at `offset` of the slot, padded with 0xff to whole units. */
static int write_bytes(uint32_t number, uint32_t offset, const uint8_t *from, uint32_t bytes)
{
    uint8_t piece[PIECE] __attribute__((aligned(4)));
    while (bytes > 0) {
        uint32_t count = bytes < PIECE ? bytes : PIECE;
        memset(piece, 0xff, sizeof piece);
        memcpy(piece, from, count);
        if (port_flash_write(number, offset, piece, padded(count)) < 0)
            return STORE_FAILED;
        from += count;
        offset += count;
        bytes -= count;
    }
    return STORE_OK;
}

static int write_parameters(uint32_t number)
{
    uint32_t offset = HEADER;
    const uint32_t parameters = NET_PARAMETERS;
    for (uint32_t i = 0; i < parameters; i++) {
        uint32_t bytes = net_parameters[i].bytes;
        if (write_bytes(number, offset, net_parameters[i].data, bytes) != STORE_OK)
            return STORE_FAILED;
        offset += padded(bytes);
    }
    return STORE_OK;
}

/* The CRC that a good copy of net_parameters behind `header` has. */
static uint32_t expected_crc(const uint8_t *header)
{
    uint8_t padding[UNIT];
    uint32_t crc = crc32_update(0, header + AT_VERSION, AT_CRC - AT_VERSION);
    const uint32_t parameters = NET_PARAMETERS;
    memset(padding, 0xff, sizeof padding);
    for (uint32_t i = 0; i < parameters; i++) {
        uint32_t bytes = net_parameters[i].bytes;
        crc = crc32_update(crc, net_parameters[i].data, bytes);
        crc = crc32_update(crc, padding, padded(bytes) - bytes);
    }
    return crc;
}

int store_save(uint32_t steps, store_record *record)
{
    if (store_bytes_needed() > port_flash_bytes(PORT_SLOT_0))
        return STORE_NO_SPACE;

    store_record last = {0, 0};
    int keep = newest();
    if (keep >= 0)
        describe(port_flash((uint32_t)keep), &last);
    uint32_t number = keep == 0 ? 1u : 0u;
    uint32_t generation = last.generation + 1u;
    if (generation == 0)
        generation = 1;

    uint8_t header[HEADER] __attribute__((aligned(4)));
    memset(header, 0xff, sizeof header);
    set_u32(header + AT_MAGIC, MAGIC);
    set_u32(header + AT_VERSION, VERSION);
    memcpy(header + AT_MODEL, net_model_id, sizeof net_model_id);
    set_u32(header + AT_GENERATION, generation);
    set_u32(header + AT_STEPS, steps);
    set_u32(header + AT_BYTES, payload_bytes());
    set_u32(header + AT_CRC, expected_crc(header));

    const uint8_t *slot = port_flash(number);
    if (port_flash_erase(number) < 0 || write_parameters(number) != STORE_OK ||
        port_flash_write(number, AT_VERSION, header + AT_VERSION, HEADER - AT_VERSION) < 0 ||
        port_flash_write(number, AT_MAGIC, header, UNIT) < 0 || !is_good(slot))
        return STORE_FAILED;
    describe(slot, record);
    return STORE_OK;
}
