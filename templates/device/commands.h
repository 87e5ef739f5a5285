/* What the requests do: the bodies of docs/protocol.md, carried out on the network and the store.
 *
 * Nothing here knows about frames, sequence numbers or repeats; that is the server's part.
 */
#ifndef COMMANDS_H
#define COMMANDS_H

#include <stdint.h>

enum { PROTOCOL_VERSION = 2 };

typedef enum {
    COMMAND_HELLO = 1,
    COMMAND_WRITE = 2,
    COMMAND_READ = 3,
    COMMAND_INFER = 4,
    COMMAND_EVALUATE = 5,
    COMMAND_TRAIN = 6,
    COMMAND_FLUSH = 7,
    COMMAND_PARAMETER_READ = 8,
    COMMAND_PARAMETER_WRITE = 9,
    COMMAND_LEARNING_RATE = 10,
    COMMAND_STATISTICS = 11,
    COMMAND_SAVE = 12,
    COMMAND_RESTORE = 13,
    COMMAND_RESET = 14,
    COMMAND_REBOOT = 15,
    COMMAND_PIECE = 16, /* has no answer, and is no part of the sequence: commands_piece() */
    COMMAND_REPLAY = 18,
    COMMAND_SETTING = 20,
    COMMAND_ASK = 21,
    COMMAND_LEARN = 22,
    COMMAND_STEPS = 24,
} command_code;

typedef enum {
    STATUS_OK = 0,
    STATUS_BAD_FRAME = 1,  /* something like a frame came, but not intact */
    STATUS_NO_HELLO = 2,   /* nobody said HELLO since the start */
    STATUS_SEQUENCE = 3,   /* detail: the expected one */
    STATUS_UNKNOWN = 4,    /* no such command */
    STATUS_LENGTH = 5,     /* detail: the shortest body that this command takes */
    STATUS_RANGE = 6,      /* detail: the limit that a field exceeds */
    STATUS_INCOMPLETE = 7, /* detail: bytes that have arrived */
    STATUS_NO_SPACE = 8,   /* detail: bytes that a store slot would need */
    STATUS_EMPTY = 9,      /* the store holds nothing for this model, or the cache no sample */
    STATUS_STORE = 10,     /* the store does not hold what was written */
    STATUS_BOOT_LOADER = 11 /* one lies where flash would be erased; detail: its address */
} command_status;

/* A request's body, and where its reply's body goes. `detail` is the body of an error reply. */
typedef struct {
    const uint8_t *body;
    uint32_t length;
    uint8_t *reply; /* TINYODL_MAX_BODY bytes */
    uint32_t reply_length;
    uint32_t detail;
    uint32_t beyond; /* with a step that is INCOMPLETE: see sample_progress */
    uint16_t piece;  /* its `length` */
    uint8_t pieces;  /* the sample for this request has come in pieces */
    uint8_t reboot; /* set when the board is to restart after the reply */
} command_exchange;

/* What the link has seen since boot, for STATISTICS. */
typedef struct {
    uint32_t frames;     /* intact */
    uint32_t bad_frames; /* not intact */
    uint32_t repeats;    /* answered again from the kept reply */
    uint32_t refused;    /* out of sequence, or before HELLO */
} link_counts;

/* Weights as compiled, then what the store has for this model. */
void commands_start(void);

/* Whether a command is a step on the sample that has arrived. */
int command_is_step(uint8_t command);

/* Takes a piece of the sample; of a new one, if `anew`. */
void commands_piece(uint8_t anew, uint32_t offset, const uint8_t *from, uint32_t count);

/* Carries out a request. On any status but STATUS_OK nothing has changed. */
command_status command_run(uint8_t command, const link_counts *link, command_exchange *exchange);

#endif
