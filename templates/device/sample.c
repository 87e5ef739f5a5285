#include "sample.h"

#include <string.h>

#include "net.h"

static struct {
    uint32_t received[NET_BUFFER_OUTPUT]; /* bytes of input and target, in order */
    uint32_t beyond;                      /* as in sample_progress */
    uint16_t length;
} sample;

void sample_drop(void)
{
    memset(&sample, 0, sizeof sample);
}

uint32_t sample_bytes(uint32_t buffer)
{
    return buffer == NET_BUFFER_INPUT ? NET_INPUT_BYTES : NET_TARGET_BYTES;
}

uint32_t sample_received(uint32_t buffer)
{
    return sample.received[buffer];
}

int sample_is_missing(uint32_t buffer)
{
    return sample.received[buffer] != sample_bytes(buffer);
}

void sample_write(uint32_t buffer, uint32_t offset, const uint8_t *from, uint32_t count)
{
    net_receive(buffer, offset, from, count);
    sample.received[buffer] = offset + count;
}

/// Pieces ///

enum { PLACES = 32 }; /* that are remembered beyond the gap */

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Puts bytes into the input, and what is behind its end into the target. */
static void put(uint32_t offset, const uint8_t *from, uint32_t count)
{
    uint32_t input = 0;
    if (offset < NET_INPUT_BYTES) {
        input = least(count, NET_INPUT_BYTES - offset);
        net_receive(NET_BUFFER_INPUT, offset, from, input);
    }
    if (count > input)
        net_receive(NET_BUFFER_TARGET, offset + input - NET_INPUT_BYTES, from + input,
                    count - input);
}

static void set_arrived(uint32_t bytes)
{
    sample.received[NET_BUFFER_INPUT] = least(bytes, NET_INPUT_BYTES);
    sample.received[NET_BUFFER_TARGET] = bytes - sample.received[NET_BUFFER_INPUT];
}

/* Is this piece at a place beyond the gap that can be remembered? Its bit, or 0. */
static uint32_t place_beyond(uint32_t gap, uint32_t count, uint32_t is_last)
{
    if (net_buffers[NET_BUFFER_INPUT].data == 0)
        return 0; /* worked on as it arrives */
    if (sample.beyond == 0)
        sample.length = (uint16_t)count;
    if (gap % sample.length != 0 || gap / sample.length > PLACES)
        return 0;
    if (count != sample.length && !(is_last && count < sample.length))
        return 0;
    return 1u << (gap / sample.length - 1u);
}

void sample_piece(uint32_t offset, const uint8_t *from, uint32_t count)
{
    const uint32_t bytes = NET_INPUT_BYTES + NET_TARGET_BYTES;
    uint32_t arrived = sample_so_far().bytes;
    if (offset < arrived || offset > bytes || count == 0 || count > bytes - offset)
        return;

    if (offset > arrived) {
        uint32_t place = place_beyond(offset - arrived, count, offset + count == bytes);
        if (place != 0) {
            put(offset, from, count);
            sample.beyond |= place;
        }
        return;
    }

    put(offset, from, count);
    arrived += count;
    if (count != sample.length)
        sample.beyond = 0; /* the places there are counted in other lengths */
    for (; sample.beyond & 1u; sample.beyond >>= 1)
        arrived = least(arrived + sample.length, bytes);
    sample.beyond >>= 1;
    set_arrived(arrived);
}

sample_progress sample_so_far(void)
{
    return (sample_progress){
        .bytes = sample.received[NET_BUFFER_INPUT] + sample.received[NET_BUFFER_TARGET],
        .beyond = sample.beyond,
        .length = sample.length,
    };
}
