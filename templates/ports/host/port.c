/* The host as a board: stdin and stdout are the serial line, a file is the flash.
 *
 * For tests and for trying things without a board. Times are the host's own clock and say nothing
 * about a board (port_clock_source 2). The environment variable TINYODL_STORE names the file with
 * the two store slots; without it there is no store.
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

enum {
    SLOTS = 2,
    STORE_HEADER_ROOM = 256,
    SLOT_BYTES = (STORE_HEADER_ROOM + NET_STATE_BYTES + 4 * NET_PARAMETERS + 4095) / 4096 * 4096,
};

static void die(const char *what)
{
    fprintf(stderr, "tinyodl host port: %s: %s\n", what, strerror(errno));
    exit(1);
}

/// Store: a file that behaves like NOR flash ///

static uint8_t *flash; /* the slots, one behind the other; 0 when there is no store */

static void erase_file(int file)
{
    uint8_t erased[4096];
    memset(erased, 0xff, sizeof erased);
    if (ftruncate(file, 0) < 0)
        die("TINYODL_STORE");
    for (int at = 0; at < SLOTS * SLOT_BYTES; at += (int)sizeof erased)
        if (write(file, erased, sizeof erased) != (ssize_t)sizeof erased)
            die("TINYODL_STORE");
}

static void open_store(void)
{
    const char *name = getenv("TINYODL_STORE");
    struct stat status;
    if (name == 0 || name[0] == 0)
        return;
    int file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || fstat(file, &status) < 0)
        die(name);
    if (status.st_size != SLOTS * SLOT_BYTES)
        erase_file(file); /* new, or of another network */
    flash = mmap(0, SLOTS * SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (flash == MAP_FAILED)
        die(name);
    close(file);
}

uint32_t port_store_bytes(void)
{
    return flash ? SLOT_BYTES : 0;
}

const uint8_t *port_store_slot(uint32_t slot)
{
    return flash + slot * SLOT_BYTES;
}

int port_store_erase(uint32_t slot)
{
    memset(flash + slot * SLOT_BYTES, 0xff, SLOT_BYTES);
    return PORT_STORE_OK;
}

int port_store_write(uint32_t slot, uint32_t offset, const void *from, uint32_t count)
{
    const uint8_t *bytes = from;
    if (offset > SLOT_BYTES || count > SLOT_BYTES - offset || offset % 4 != 0 || count % 4 != 0)
        return PORT_STORE_RANGE;
    for (uint32_t i = 0; i < count; i++)
        flash[slot * SLOT_BYTES + offset + i] &= bytes[i]; /* programming only clears bits */
    return PORT_STORE_OK;
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
    open_store();
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
