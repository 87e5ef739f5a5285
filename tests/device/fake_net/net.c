#include "net.h"

#include <math.h>
#include <string.h>

static float arena[FAKE_INPUTS + 2 * NET_CLASSES];
static float *const output = arena + FAKE_INPUTS;
#ifdef FAKE_INT8
static int8_t *const input = (int8_t *)arena;
#else
static float *const input = arena;
#endif
#ifdef FAKE_MSE
static float *const target = arena + FAKE_INPUTS + NET_CLASSES;
#endif
static float weight[NET_CLASSES][FAKE_INPUTS], bias[NET_CLASSES];
static float gradient[NET_CLASSES][FAKE_INPUTS];
static uint32_t collected;
static float rate;
static uint32_t flags;

const net_buffer net_buffers[NET_BUFFERS] = {
#ifdef FAKE_BY_ROWS
    {0, 0},
#else
    {arena, NET_INPUT_BYTES},
#endif
#ifdef FAKE_MSE
    {arena + FAKE_INPUTS + NET_CLASSES, NET_TARGET_BYTES},
#else
    {0, 0},
#endif
    {arena + FAKE_INPUTS, NET_OUTPUT_BYTES},
};
const net_buffer net_parameters[NET_PARAMETERS + 1] = {
    {weight, sizeof weight},
    {bias, sizeof bias},
    {gradient, sizeof gradient},
    {&collected, sizeof collected},
    {0, 0},
};

static float real(int i)
{
#ifdef FAKE_INT8
    return (float)(input[i] + 3) / 32.0f;
#else
    return input[i];
#endif
}

void net_reset(void)
{
    for (int k = 0; k < NET_CLASSES; k++) {
        for (int i = 0; i < FAKE_INPUTS; i++)
            weight[k][i] = 0.25f * (float)((k + 2 * i) % 5) - 0.5f;
        bias[k] = 0.125f * (float)k;
    }
    memset(gradient, 0, sizeof gradient);
    collected = 0;
    rate = 0.5f;
}

#ifdef FAKE_BY_ROWS
static float row[2 * 3]; /* the only one that is there */

static void receive_sample(uint32_t offset, const uint8_t *from, uint32_t count)
{
    for (uint32_t end = offset + count; offset < end; offset++) {
        ((uint8_t *)row)[offset % sizeof row] = *from++;
        if (offset % sizeof row != sizeof row - 1)
            continue;
        net_mark(NET_FORWARD);
        float *const made = input + offset / sizeof row;
        *made = 0;
        for (int i = 0; i < 2 * 3; i++)
            *made += 0.125f * (float)(i + 1) * row[i];
        net_mark(NET_IDLE);
    }
}
#endif

void net_receive(uint32_t buffer, uint32_t offset, const void *from, uint32_t count)
{
#ifdef FAKE_BY_ROWS
    if (buffer == NET_BUFFER_INPUT) {
        receive_sample(offset, from, count);
        return;
    }
#endif
    memcpy((uint8_t *)net_buffers[buffer].data + offset, from, count);
}

void net_forward(void)
{
    float sum = 0, most;
    flags = 0;
    net_mark(NET_FORWARD);
    for (int k = 0; k < NET_CLASSES; k++) {
        output[k] = bias[k];
        for (int i = 0; i < FAKE_INPUTS; i++)
            output[k] += weight[k][i] * real(i);
    }
    most = output[net_predicted()];
#ifndef FAKE_MSE
    for (int k = 0; k < NET_CLASSES; k++)
        sum += output[k] = expf(output[k] - most);
    for (int k = 0; k < NET_CLASSES; k++)
        output[k] /= sum;
#else
    (void)sum;
    (void)most;
#endif
    net_mark(NET_IDLE);
}

int32_t net_predicted(void)
{
    int32_t best = 0;
    for (int32_t k = 1; k < NET_CLASSES; k++)
        if (output[k] > output[best])
            best = k;
    return best;
}

int net_takes(int32_t label, int to_learn)
{
    (void)to_learn;
    return label >= 0 && label < NET_CLASSES;
}

static float difference(int k, int32_t label)
{
#ifdef FAKE_MSE
    (void)label;
    return (output[k] - target[k]) * 2.0f / NET_CLASSES;
#else
    return output[k] - (k == label ? 1.0f : 0.0f);
#endif
}

float net_evaluate(int32_t label)
{
    net_forward();
#ifdef FAKE_MSE
    float loss = 0;
    (void)label;
    for (int k = 0; k < NET_CLASSES; k++)
        loss += (output[k] - target[k]) * (output[k] - target[k]) / NET_CLASSES;
    return loss;
#else
    return -logf(output[label]);
#endif
}

uint32_t net_flush(void)
{
    uint32_t samples = collected;
    net_mark(NET_UPDATE);
    if (samples > 0)
        for (int k = 0; k < NET_CLASSES; k++)
            for (int i = 0; i < FAKE_INPUTS; i++)
                weight[k][i] -= rate * gradient[k][i] / (float)samples;
    memset(gradient, 0, sizeof gradient);
    collected = 0;
    net_mark(NET_IDLE);
    return samples;
}

float net_train(int32_t label)
{
    float loss = net_evaluate(label);
    net_mark(NET_BACKWARD);
    for (int k = 0; k < NET_CLASSES; k++)
        for (int i = 0; i < FAKE_INPUTS; i++)
            gradient[k][i] += difference(k, label) * real(i);
    for (int k = 0; k < NET_CLASSES; k++)
        bias[k] -= rate * difference(k, label);
    if (++collected == NET_BATCH)
        net_flush();
    net_mark(NET_IDLE);
    flags = loss > 1.0f ? FLAG_BOUNDED : 0;
    memset(input, 0x5a, FAKE_INPUTS * sizeof *input); /* as where the arena is used again */
    return loss;
}

/* A step at a loss above 1 says that it was bounded, so that the reply has a flag to carry. */
uint32_t net_flags(void)
{
    return flags;
}

float net_learning_rate(void)
{
    return rate;
}

void net_set_learning_rate(float value)
{
    rate = value;
}
