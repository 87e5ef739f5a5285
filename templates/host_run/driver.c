/* Stands in for lib/device when a network runs inside the Python process, and loops over samples.
 * Python calls it through ctypes (tinyodl/host_run/network.py). */
#include <string.h>

#include "net.h"

void net_mark(net_phase phase)
{
    (void)phase; /* nobody counts cycles here */
}

/// Flash ///

#ifdef NET_FLASH
#include "flash.h"

#ifndef NET_FEATURE_BYTES
#define NET_FEATURE_BYTES 4
#endif
#ifndef NET_BEST_BYTES
#define NET_BEST_BYTES 4
#endif

/* NOR flash: once erased, each word can be written once. `flash_left` words can be written at all. */
uint32_t flash[(NET_FEATURE_BYTES + 3) / 4], best[(NET_BEST_BYTES + 3) / 4];
uint32_t flash_left = UINT32_MAX, flash_erased;
static uint32_t *const regions[] = {flash, best};

const uint8_t *flash_at(uint32_t region)
{
    return (const uint8_t *)regions[region];
}

int flash_erase(uint32_t region)
{
    memset(regions[region], 0xff, region == FLASH_BEST ? sizeof best : sizeof flash);
    flash_erased++;
    return flash_left ? 0 : -1;
}

int flash_write(uint32_t region, uint32_t offset, const void *from, uint32_t count)
{
    const uint8_t *bytes = from;
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t *to = regions[region] + (offset + i) / 4, word;
        memcpy(&word, bytes + i, 4);
        if (flash_left == 0 || *to != 0xffffffffu)
            return -1;
        flash_left--;
        *to = word;
    }
    return 0;
}

net_buffer host_flash[2] = {{flash, sizeof flash}, {best, sizeof best}};
#else
net_buffer host_flash[2];
#endif

/// Samples ///

/* What a step says of its sample. */
typedef struct {
    float loss;
    int32_t predicted;
    uint32_t flags; /* flags.h */
} host_step;

static void receive(const uint8_t *samples, const uint8_t *targets, uint32_t i)
{
    net_receive(NET_BUFFER_INPUT, 0, samples + (size_t)i * NET_INPUT_BYTES, NET_INPUT_BYTES);
    if (NET_TARGET_BYTES != 0 && targets)
        net_receive(NET_BUFFER_TARGET, 0, targets + (size_t)i * NET_TARGET_BYTES, NET_TARGET_BYTES);
}

static host_step step_made(float loss)
{
    return (host_step){loss, net_predicted(), net_flags()};
}

/* Outputs (count, NET_OUTPUT_BYTES). */
void host_forward(const uint8_t *samples, uint32_t count, uint8_t *outputs)
{
    for (uint32_t i = 0; i < count; i++) {
        receive(samples, 0, i);
        net_forward();
        memcpy(outputs + (size_t)i * NET_OUTPUT_BYTES, net_buffers[NET_BUFFER_OUTPUT].data,
               NET_OUTPUT_BYTES);
    }
}

/* The number of samples before the first whose label the network does not take. */
uint32_t host_evaluate(const uint8_t *samples, const uint8_t *targets, const int32_t *labels,
                       uint32_t count, host_step *steps)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!net_takes(labels[i], 0))
            return i;
        receive(samples, targets, i);
        steps[i] = step_made(net_evaluate(labels[i]));
    }
    return count;
}

/* Likewise; it has learned from those before. */
uint32_t host_train(const uint8_t *samples, const uint8_t *targets, const int32_t *labels,
                    uint32_t count, host_step *steps)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!net_takes(labels[i], 1))
            return i;
        receive(samples, targets, i);
        steps[i] = step_made(net_train(labels[i]));
    }
    return count;
}

#ifdef NET_ASKS
/* Learns from the samples whose labels it asks for. `flags` are those of the question. */
uint32_t host_ask(const uint8_t *samples, const uint8_t *targets, const int32_t *labels,
                  uint32_t count, host_step *steps)
{
    for (uint32_t i = 0; i < count; i++) {
        float above;
        if (!net_takes(labels[i], 1))
            return i;
        receive(samples, targets, i);
        net_ask(&above);
        steps[i] = step_made(__builtin_nanf(""));
        if (steps[i].flags & FLAG_WANTED)
            steps[i].loss = net_learn(labels[i]);
    }
    return count;
}
#endif

/* After its flash has other contents: what of it the network has to know in RAM. */
void host_recover(void)
{
#ifdef NET_FLASH
    net_recover();
#endif
}

/* A batch that is not full is applied, and a guard goes back to the best parameters. */
uint32_t host_settle(void)
{
    const uint32_t samples = net_flush();
#ifdef NET_GUARDS
    net_settle();
#endif
    return samples;
}
