/* A softmax regression with the interface that generated networks have: a stand-in for tests.
 *
 * FAKE_MSE makes it a linear regression with a target vector instead of a label. FAKE_INT8 makes its
 * input int8, which stands for (q + 3) / 32. FAKE_BY_ROWS puts a layer before it that makes one of
 * its inputs from each row of an image of 2 channels and 3 columns, as the rows arrive.
 */
#ifndef NET_H
#define NET_H

#include <stdint.h>

#include "flags.h"

#ifndef FAKE_INPUTS
#define FAKE_INPUTS 4
#endif
#ifndef FAKE_MODEL
#define FAKE_MODEL 1
#endif

enum {
    NET_CLASSES = 3,
#if defined FAKE_INT8
    NET_INPUT_BYTES = FAKE_INPUTS,
#elif defined FAKE_BY_ROWS
    NET_INPUT_BYTES = FAKE_INPUTS * 2 * 3 * 4,
#else
    NET_INPUT_BYTES = FAKE_INPUTS * 4,
#endif
#ifdef FAKE_MSE
    NET_TARGET_BYTES = NET_CLASSES * 4,
#else
    NET_TARGET_BYTES = 0,
#endif
    NET_OUTPUT_BYTES = NET_CLASSES * 4,
    NET_PARAMETERS = 4, /* weight, bias, gradient sum, samples in it */
    NET_STATE_BYTES = NET_CLASSES * (2 * FAKE_INPUTS + 1) * 4 + 4,
    NET_OUTPUT_STAYS = 1,
    NET_BATCH = 2,
    NET_SKIPPED = -2,
};

static const uint8_t net_model_id[8] = {0xfa, 0xce, 0, 0, 0, 0, 0, FAKE_MODEL};

typedef enum { NET_IDLE = 0, NET_FORWARD = 1, NET_BACKWARD = 2, NET_UPDATE = 3 } net_phase;
void net_mark(net_phase phase);

typedef struct {
    void *data;
    uint32_t bytes;
} net_buffer;
enum { NET_BUFFER_INPUT, NET_BUFFER_TARGET, NET_BUFFER_OUTPUT, NET_BUFFERS };
extern const net_buffer net_buffers[NET_BUFFERS];
extern const net_buffer net_parameters[NET_PARAMETERS + 1];

void net_reset(void);
void net_receive(uint32_t buffer, uint32_t offset, const void *from, uint32_t count);
void net_forward(void);
int32_t net_predicted(void);
int net_takes(int32_t label, int to_learn);
float net_evaluate(int32_t label);
float net_train(int32_t label);
uint32_t net_flush(void);
uint32_t net_flags(void);
float net_learning_rate(void);
void net_set_learning_rate(float rate);

#endif
