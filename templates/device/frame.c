#include "frame.h"

#include "bytes.h"
#include "crc32.h"

/* COBS grows by one code byte, one more for every 254 bytes, and the zero at the end. */
_Static_assert(2u + (FRAME_MESSAGE + FRAME_CRC) / 254u <= FRAME_ROOM,
               "FRAME_ROOM is too small for this TINYODL_MAX_BODY");

/// Receiving ///

static void append(frame_receiver *receiver, uint8_t byte)
{
    if (receiver->length < sizeof receiver->message)
        receiver->message[receiver->length++] = byte;
    else
        receiver->too_long = 1;
}

static int32_t finish(const frame_receiver *receiver)
{
    if (receiver->length < FRAME_HEADER + FRAME_CRC)
        return FRAME_NONE;
    const int32_t bad = -(int32_t)receiver->length;
    if (receiver->too_long || receiver->left != 0)
        return bad;
    uint32_t length = receiver->length - FRAME_CRC;
    if (get_u32(receiver->message + length) != crc32_update(0, receiver->message, length))
        return bad;
    return (int32_t)length;
}

int32_t frame_receive(frame_receiver *receiver, uint8_t byte)
{
    if (byte == 0) {
        int32_t result = finish(receiver);
        receiver->length = 0;
        receiver->left = 0;
        receiver->zero_due = 0;
        receiver->too_long = 0;
        return result;
    }
    if (receiver->left > 0) {
        append(receiver, byte);
        receiver->left--;
        return FRAME_NONE;
    }
    if (receiver->zero_due)
        append(receiver, 0);
    receiver->left = (uint8_t)(byte - 1u);
    receiver->zero_due = byte != 0xffu;
    return FRAME_NONE;
}

/// Sending ///

uint32_t frame_encode(uint8_t *frame, uint32_t length)
{
    const uint8_t *in = frame + FRAME_ROOM;
    set_u32(frame + FRAME_ROOM + length, crc32_update(0, in, length));
    const uint8_t *end = in + length + FRAME_CRC;

    uint8_t *code = frame; /* of the block that is growing: its length with the code itself */
    uint8_t *out = frame + 1;
    uint8_t block = 1;
    while (in < end) {
        if (block == 0xffu) {
            *code = block;
            code = out++;
            block = 1;
        }
        uint8_t byte = *in++;
        if (byte != 0) {
            *out++ = byte;
            block++;
        } else {
            *code = block;
            code = out++;
            block = 1;
        }
    }
    *code = block;
    *out++ = 0;
    return (uint32_t)(out - frame);
}
