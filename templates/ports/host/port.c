/* The host as a board: stdin and stdout are the serial line, a file is the flash.
 *
 * For tests and for trying things without a board. Times are the host's own clock and say nothing
 * about a board (port_clock_source 2). The environment variable TINYODL_STORE names the file that is
 * the flash; without it there is no store.
 */
#define _GNU_SOURCE
#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "net.h"

#define PAGES(bytes) (((bytes) + 4095) / 4096 * 4096)

enum {
    STORE_HEADER_ROOM = 256,
    SLOT_BYTES = PAGES(STORE_HEADER_ROOM + NET_STATE_BYTES + 4 * NET_PARAMETERS),
#ifdef NET_FEATURE_BYTES
    FEATURE_BYTES = PAGES(NET_FEATURE_BYTES),
#else
    FEATURE_BYTES = 0,
#endif
#ifdef NET_BEST_BYTES
    BEST_BYTES = PAGES(NET_BEST_BYTES),
#else
    BEST_BYTES = 0,
#endif
    FLASH_BYTES = 2 * SLOT_BYTES + FEATURE_BYTES + BEST_BYTES,
};

static const struct {
    uint32_t start, bytes;
} regions[PORT_REGIONS] = {
    [PORT_SLOT_0] = {0, SLOT_BYTES},
    [PORT_SLOT_1] = {SLOT_BYTES, SLOT_BYTES},
    [PORT_FEATURES] = {2 * SLOT_BYTES, FEATURE_BYTES},
    [PORT_BEST] = {2 * SLOT_BYTES + FEATURE_BYTES, BEST_BYTES},
};

static void die(const char *what)
{
    fprintf(stderr, "tinyodl host port: %s: %s\n", what, strerror(errno));
    exit(1);
}

/// Flash: a file that behaves like NOR flash ///

static uint8_t *flash; /* the regions, one behind the other */
static int kept;       /* in a file: there is a store */

static void erase_file(int file)
{
    uint8_t erased[4096];
    memset(erased, 0xff, sizeof erased);
    if (ftruncate(file, 0) < 0)
        die("TINYODL_STORE");
    for (int at = 0; at < FLASH_BYTES; at += (int)sizeof erased)
        if (write(file, erased, sizeof erased) != (ssize_t)sizeof erased)
            die("TINYODL_STORE");
}

static void open_flash(void)
{
    const char *name = getenv("TINYODL_STORE");
    struct stat status;
    if (name == 0 || name[0] == 0) {
        flash = mmap(0, FLASH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (flash == MAP_FAILED)
            die("flash");
        memset(flash, 0xff, FLASH_BYTES);
        return;
    }
    int file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || fstat(file, &status) < 0)
        die(name);
    if (status.st_size != FLASH_BYTES)
        erase_file(file); /* new, or of another network */
    flash = mmap(0, FLASH_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (flash == MAP_FAILED)
        die(name);
    close(file);
    kept = 1;
}

uint32_t port_flash_bytes(uint32_t region)
{
    return kept || region > PORT_SLOT_1 ? regions[region].bytes : 0;
}

const uint8_t *port_flash(uint32_t region)
{
    return flash + regions[region].start;
}

uint32_t port_flash_boot_loader(void)
{
    return PORT_NO_BOOT_LOADER; /* a file is all that is erased here */
}

int port_flash_erase(uint32_t region)
{
    memset(flash + regions[region].start, 0xff, regions[region].bytes);
    return PORT_FLASH_OK;
}

int port_flash_write(uint32_t region, uint32_t offset, const void *from, uint32_t count)
{
    const uint8_t *bytes = from;
    const uint32_t room = port_flash_bytes(region);
    uint8_t *to = flash + regions[region].start + offset;
    if (offset > room || count > room - offset || offset % 4 != 0 || count % 4 != 0)
        return PORT_FLASH_RANGE;
    for (uint32_t i = 0; i < count; i++)
        to[i] &= bytes[i]; /* programming only clears bits */
    return memcmp(to, bytes, count) == 0 ? PORT_FLASH_OK : PORT_FLASH_FAILED;
}

/// Serial line ///

uint32_t port_receive(uint8_t *to, uint32_t capacity)
{
    struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&line, 1, 0) <= 0)
        return 0;
    ssize_t count = read(STDIN_FILENO, to, capacity);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (count <= 0)
        exit(0); /* the other end has closed the line */
    return (uint32_t)count;
}

void port_send(const uint8_t *from, uint32_t count)
{
    while (count > 0) {
        ssize_t written = write(STDOUT_FILENO, from, count);
        if (written < 0 && errno != EINTR)
            exit(0);
        if (written > 0) {
            from += written;
            count -= (uint32_t)written;
        }
    }
}

void port_idle(void)
{
    struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
    (void)poll(&line, 1, -1);
}

/// Clock and the rest ///

void port_init(void)
{
    open_flash();
}

uint32_t port_clock_hz(void)
{
    return 10000000u; /* ticks of 100 ns: the counter wraps after 7 minutes */
}

uint32_t port_cycles(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 10000000u + (uint64_t)now.tv_nsec / 100u);
}

uint8_t port_clock_source(void)
{
    return PORT_CLOCK_HOST;
}

void port_mark(uint32_t phase)
{
    (void)phase; /* no pins */
}

uint32_t port_stack_bytes(void)
{
    return 0; /* the host's stack is not ours to bound */
}

uint32_t port_stack_used(void)
{
    return 0;
}

void port_reboot(void)
{
    /* The same program again, with the same line: what is not in the store is forgotten. */
    execl("/proc/self/exe", "firmware", (char *)0);
    die("reboot");
}
