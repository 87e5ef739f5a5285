/* Learned weights that survive a reset: two slots in flash, of which one is always good.
 *
 * Flash is written in units of U = PORT_FLASH_UNIT bytes: 4, or more where the chip keeps an
 * error-correcting code of each unit and so programs it only once. A slot is a header, then all
 * net_parameters, each padded with 0xff to a multiple of U:
 *
 *      0  u32 magic "TODS" in a unit of its own, written last: a slot without it is empty
 *      U  u32 version of this layout, 1
 *  U + 4  u8  model_id[8]
 *  U + 12 u32 generation: the slot with the higher one is newer (modulo 2^32)
 *  U + 16 u32 steps trained
 *  U + 20 u32 bytes behind the header
 *  U + 24 u32 CRC-32 of bytes U to U + 23 and of those behind the header
 *  U + 28 0xff to a multiple of U: the header has 32 bytes for U = 4, 40 for 8, 48 for 16
 *
 * Saving erases and writes only the slot that is not the newest good one, every unit once. So when
 * power fails at any moment, the newest state or the one before it is found at the next start.
 */
#ifndef STORE_H
#define STORE_H

#include <stdint.h>

#include "config.h"

#ifndef PORT_FLASH_UNIT
#define PORT_FLASH_UNIT 4u /* a board whose chip has larger ones says so in config.h */
#endif

enum {
    STORE_OK = 0,
    STORE_EMPTY = -1,    /* no good slot for this model */
    STORE_NO_SPACE = -2, /* a slot is smaller than the state */
    STORE_FAILED = -3,   /* flash does not hold what was written, or takes nothing */
};

typedef struct {
    uint32_t generation; /* 0 is never used */
    uint32_t steps;
} store_record;

uint32_t store_bytes_needed(void);

/* Each returns STORE_OK or one of the errors above, and leaves `record` alone on errors. */
int store_find(store_record *record);                 /* the newest good slot */
int store_restore(store_record *record);              /* into net_parameters; unchanged on errors */
int store_save(uint32_t steps, store_record *record); /* net_parameters into the older slot */

#endif
