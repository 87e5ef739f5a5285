/* Cycles per phase. The network tells its phase by net_mark (net.h), which is implemented here. */
#ifndef METER_H
#define METER_H

#include <stdint.h>

#include "net.h"

/* Starts a new step: meter_step counts from 0 again. */
void meter_start(void);

/* Cycles of a phase (NET_FORWARD to NET_UPDATE) in the step since meter_start. Wraps with the counter, after 2^32 cycles. */
uint32_t meter_step(net_phase phase);

/* Cycles of a phase since boot. */
uint64_t meter_total(net_phase phase);

#endif
