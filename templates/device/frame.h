/* Frames on the serial line: COBS(message + CRC-32) and a zero byte; see docs/protocol.md.
 *
 * A message is a header of four bytes and a body. The CRC covers both.
 */
#ifndef FRAME_H
#define FRAME_H

#include <stdint.h>

#include "config.h"

#define FRAME_HEADER 4u
#define FRAME_CRC 4u
#define FRAME_MESSAGE (FRAME_HEADER + TINYODL_MAX_BODY) /* the longest */
#define FRAME_ROOM 4u                                   /* in front of a message; see frame_encode */
#define FRAME_BYTES(body) (FRAME_ROOM + FRAME_HEADER + (body) + FRAME_CRC)

/// Receiving ///

typedef struct {
    uint32_t length;      /* decoded bytes of the frame that is arriving */
    uint8_t left;         /* bytes left in the COBS block */
    uint8_t zero_due;     /* the block stands for a zero after it, unless it is the last */
    uint8_t too_long;
    uint8_t message[FRAME_MESSAGE + FRAME_CRC];
} frame_receiver;

enum { FRAME_NONE = 0 };

/* Takes one byte. If it completes a message, returns the message's length; the message lies in
 * `message`, its CRC behind it, until the next byte is taken. Returns FRAME_NONE while nothing is
 * complete, or if the bytes are too few for a frame. If a frame is too long, broken off, or has a
 * wrong CRC, returns minus the number of its decoded bytes.
 */
int32_t frame_receive(frame_receiver *receiver, uint8_t byte);

/// Sending ///

/* Turns the message of `length` bytes at frame + FRAME_ROOM into a frame at `frame`, in place:
 * COBS moves the bytes forward, and the room in front is what it can grow by.
 * `frame` has FRAME_BYTES(body) bytes. Returns the length of the frame.
 */
uint32_t frame_encode(uint8_t *frame, uint32_t length);

#endif
