/* What lib/net keeps in flash, in the port's regions. */
#include "net.h"

#ifdef NET_FLASH
#include "flash.h"
#include "port.h"

static const uint32_t regions[] = {[FLASH_FEATURES] = PORT_FEATURES, [FLASH_BEST] = PORT_BEST};

const uint8_t *flash_at(uint32_t region)
{
    return port_flash(regions[region]);
}

int flash_write(uint32_t region, uint32_t offset, const void *from, uint32_t count)
{
    return port_flash_write(regions[region], offset, from, count);
}

int flash_erase(uint32_t region)
{
    return port_flash_erase(regions[region]);
}
#endif
