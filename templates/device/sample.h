/* The sample that arrives for the next step, with its target: which bytes of them are there.
 *
 * They come in order, buffer by buffer (WRITE), or as pieces of both together, input first, in any
 * order (PIECE). A network that works on its sample as it arrives takes pieces in order only.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <stdint.h>

/* How far the pieces of a sample have come. */
typedef struct {
    uint32_t bytes;  /* from the start without a gap */
    uint32_t beyond; /* bit i: `length` bytes from bytes + (i + 1) * length on are there too */
    uint16_t length; /* of the pieces beyond the gap; the last may be shorter */
} sample_progress;

/* Nothing is there any more. */
void sample_drop(void);

/* Bytes of a buffer (NET_BUFFER_INPUT, NET_BUFFER_TARGET), and those received in order so far. */
uint32_t sample_bytes(uint32_t buffer);
uint32_t sample_received(uint32_t buffer);
int sample_is_missing(uint32_t buffer); /* something of it is */

/* Takes the next bytes of one buffer, or its first ones anew at offset 0. */
void sample_write(uint32_t buffer, uint32_t offset, const uint8_t *from, uint32_t count);

/* Takes bytes of input and target together, unless they are there already, do not belong to the
 * sample, or their place cannot be remembered. */
void sample_piece(uint32_t offset, const uint8_t *from, uint32_t count);
sample_progress sample_so_far(void);

#endif
