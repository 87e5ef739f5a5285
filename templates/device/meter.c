#include "meter.h"

#include "port.h"

/* What no phase takes is not counted. */
static struct {
    uint64_t total[NET_UPDATE];
    uint32_t step[NET_UPDATE];
    uint32_t since; /* the counter when the phase began */
    net_phase phase;
} meter;

void net_mark(net_phase phase)
{
    uint32_t now = port_cycles();
    port_mark((uint32_t)phase);
    uint32_t spent = now - meter.since;
    if (meter.phase != NET_IDLE) {
        meter.step[meter.phase - 1] += spent;
        meter.total[meter.phase - 1] += spent;
    }
    meter.since = now;
    meter.phase = phase;
}

void meter_start(void)
{
    for (uint32_t phase = 0; phase < NET_UPDATE; phase++)
        meter.step[phase] = 0;
    meter.since = port_cycles(); /* idle time may exceed the counter's range: it is not counted */
}

uint32_t meter_step(net_phase phase)
{
    return meter.step[phase - 1];
}

uint64_t meter_total(net_phase phase)
{
    return meter.total[phase - 1];
}
