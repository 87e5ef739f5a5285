#include "server.h"

#include <string.h>

#include "bytes.h"
#include "commands.h"
#include "frame.h"
#include "port.h"
#include "sample.h"

enum {
    FROM_DEVICE = 0x80,   /* in the command of a reply */
    NO_SEQUENCE = 0xffff, /* in the reply to a frame whose own cannot be trusted */
    CHUNK = 64,           /* bytes taken from the receive ring at a time */
    PIECE_UNIT = 4,       /* bytes in which a PIECE counts its offset */
};

/* The last reply, as the frame sent: it answers a repeated request, which is not carried out again.
 * If a request is refused, its error reply is made on the stack and leaves the kept one alone. */
static struct {
    frame_receiver receiver;
    uint8_t reply[FRAME_BYTES(TINYODL_MAX_BODY)];
    uint32_t reply_bytes;
    uint32_t last_crc; /* of the last request that was carried out */
    uint16_t last_sequence;
    uint8_t greeted;
    uint8_t pieces; /* of the sample for the next request have come */
    link_counts counts;
} server;

static void set_header(uint8_t *message, uint8_t command, uint8_t status, uint16_t sequence)
{
    message[0] = command | FROM_DEVICE;
    message[1] = status;
    set_u16(message + 2, sequence);
}

/* Says why a request was not carried out. */
static void refuse(uint8_t command, uint16_t sequence, uint8_t status, uint32_t detail)
{
    uint8_t frame[FRAME_BYTES(4)];
    set_header(frame + FRAME_ROOM, command, status, sequence);
    set_u32(frame + FRAME_ROOM + FRAME_HEADER, detail);
    port_send(frame, frame_encode(frame, FRAME_HEADER + 4));
}

/* Says which bytes of the sample for a step have arrived. It does not use up the step's number, so
 * that the rest can follow under it. */
static void refuse_step(uint8_t command, uint16_t sequence, const command_exchange *exchange)
{
    uint8_t frame[FRAME_BYTES(10)];
    uint8_t *body = frame + FRAME_ROOM + FRAME_HEADER;
    if (exchange->beyond == 0) {
        refuse(command, sequence, STATUS_INCOMPLETE, exchange->detail);
        return;
    }
    set_header(frame + FRAME_ROOM, command, STATUS_INCOMPLETE, sequence);
    set_u32(body, exchange->detail);
    set_u32(body + 4, exchange->beyond);
    set_u16(body + 8, exchange->piece);
    port_send(frame, frame_encode(frame, FRAME_HEADER + 10));
}

/* Pieces are for one request, and of no use to any other. */
static void drop_pieces(void)
{
    if (server.pieces)
        sample_drop();
    server.pieces = 0;
}

static void carry_out(const uint8_t *message, uint32_t length)
{
    uint8_t command = message[0];
    uint16_t sequence = get_u16(message + 2);
    uint8_t *body = server.reply + FRAME_ROOM + FRAME_HEADER;
    command_exchange exchange = {
        .body = message + FRAME_HEADER,
        .length = length - FRAME_HEADER,
        .reply = body,
        .pieces = server.pieces,
    };
    if (!command_is_step(command))
        drop_pieces();

    /* Bit 0x80 and a reserved byte that is not 0 belong to no request there is. */
    command_status status = STATUS_UNKNOWN;
    if (message[1] == 0)
        status = command_run(command, &server.counts, &exchange);
    if (status == STATUS_INCOMPLETE && command_is_step(command)) {
        refuse_step(command, sequence, &exchange);
        return;
    }
    drop_pieces();
    if (status != STATUS_OK) {
        if (command == COMMAND_HELLO) {
            refuse(command, sequence, status, exchange.detail);
            return; /* it does not set the sequence */
        }
        set_u32(body, exchange.detail);
        exchange.reply_length = 4;
    }

    server.greeted = 1;
    server.last_sequence = sequence;
    server.last_crc = get_u32(message + length);
    set_header(server.reply + FRAME_ROOM, command, (uint8_t)status, sequence);
    server.reply_bytes = frame_encode(server.reply, FRAME_HEADER + exchange.reply_length);
    port_send(server.reply, server.reply_bytes);
    if (exchange.reboot)
        port_reboot();
}

/* A piece has no answer: its step answers, and says what is missing. */
static void take_piece(const uint8_t *message, uint32_t length)
{
    commands_piece(!server.pieces, get_u16(message + 2) * PIECE_UNIT, message + FRAME_HEADER,
                   length - FRAME_HEADER);
    server.pieces = 1;
}

static void take_message(const uint8_t *message, uint32_t length)
{
    uint8_t command = message[0];
    uint16_t sequence = get_u16(message + 2);
    uint16_t expected = (uint16_t)(server.last_sequence + 1u);

    server.counts.frames++;
    if (command == COMMAND_PIECE) {
        if (server.greeted && message[1] == (uint8_t)expected)
            take_piece(message, length);
        else
            server.counts.refused++;
    } else if (server.greeted && sequence == server.last_sequence &&
        get_u32(message + length) == server.last_crc) {
        server.counts.repeats++;
        port_send(server.reply, server.reply_bytes);
    } else if (command == COMMAND_HELLO) {
        carry_out(message, length);
    } else if (!server.greeted) {
        server.counts.refused++;
        refuse(command, sequence, STATUS_NO_HELLO, 0);
    } else if (sequence != expected) {
        server.counts.refused++;
        refuse(command, sequence, STATUS_SEQUENCE, expected);
    } else {
        carry_out(message, length);
    }
}

void server_start(void)
{
    memset(&server, 0, sizeof server);
    commands_start();
}

void server_poll(void)
{
    uint8_t chunk[CHUNK];
    uint32_t count;
    while ((count = port_receive(chunk, sizeof chunk)) > 0) {
        for (uint32_t i = 0; i < count; i++) {
            int32_t length = frame_receive(&server.receiver, chunk[i]);
            if (length > 0) {
                take_message(server.receiver.message, (uint32_t)length);
            } else if (length < 0) {
                server.counts.bad_frames++;
                if (server.receiver.message[0] != COMMAND_PIECE)
                    refuse(0, NO_SEQUENCE, STATUS_BAD_FRAME, (uint32_t)-length);
            }
        }
    }
}

void server_run(void)
{
    server_start();
    for (;;) {
        server_poll();
        port_idle();
    }
}
