/* Learned weights that survive a reset: two slots in flash, of which one is always good.
 *
 * A slot is a header of 32 bytes, then all net_parameters, each padded to a multiple of 4:
 *
 *   0  u32 magic "TODS", written last: a slot without it is empty
 *   4  u32 version of this layout, 1
 *   8  u8  model_id[8]
 *  16  u32 generation: the slot with the higher one is newer (modulo 2^32)
 *  20  u32 steps trained
 *  24  u32 bytes that follow the header
 *  28  u32 CRC-32 of bytes 4..27 and of what follows the header
 *
 * Saving erases and writes only the slot that is not the newest good one, every word once. So when
 * power fails at any moment, the newest state or the one before it is found at the next start.
 */
#ifndef STORE_H
#define STORE_H

#include <stdint.h>

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
