/* CRC-32 as in zlib, PNG and Ethernet (polynomial 0xEDB88320, reflected). */
#ifndef CRC32_H
#define CRC32_H

#include <stdint.h>

/* The CRC of what `crc` stands for (0 at first) followed by `count` bytes; zlib's crc32(). */
uint32_t crc32_update(uint32_t crc, const void *from, uint32_t count);

#endif
