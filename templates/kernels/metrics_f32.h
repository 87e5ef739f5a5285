/* What the device counts of its own predictions. */
#ifndef TINYODL_METRICS_F32_H
#define TINYODL_METRICS_F32_H

#include <stdint.h>
#include <string.h>

/* The label of one of n classes, and the prediction: the largest of the first `among` values y, the
 * first of equals; without any, nothing is predicted.
 *
 *   recent[0] = fading recent[0] + 1 if it is right,  recent[1] = fading recent[1] + 1
 */
static inline void count_confusion(int32_t n, int32_t among, float fading, int32_t label,
                                   const float *y, int32_t *confusion, float *recent)
{
    int32_t best = 0;
    for (int32_t i = 1; i < among; i++) {
        best = y[i] > y[best] ? i : best;
    }
    const int32_t right = among > 0 && best == label;
    if (among > 0) {
        confusion[label * n + best]++;
    }
    recent[0] = fading * recent[0] + (float)right;
    recent[1] = fading * recent[1] + 1.0f;
}

/* Rows: label 0, 1, and -1. */
static inline void count_anomaly(int32_t label, int32_t flagged, int32_t *anomalies)
{
    anomalies[(label < 0 ? 2 : label) * 2 + flagged]++;
}

/// The error of what is reconstructed ///

enum {
    ERROR_BINS = 96,
    ERROR_FIRST = (127 - 16) * 4, /* exponent and two bits of the mantissa of the first bin's edge */
    ERROR_MINIMUM = 16            /* samples that a threshold is made from, at least */
};

static inline float error_edge(int32_t bin)
{
    const uint32_t bits = (uint32_t)(bin + ERROR_FIRST) << 21;
    float edge;
    memcpy(&edge, &bits, sizeof edge);
    return edge;
}

static inline int32_t error_bin(float error)
{
    uint32_t bits;
    memcpy(&bits, &error, sizeof bits);
    const int32_t bin = (int32_t)(bits >> 21) - ERROR_FIRST;
    return bin < 0 ? 0 : bin < ERROR_BINS ? bin : ERROR_BINS - 1;
}

/* moments: mean, variance, count. Returns whether there are enough samples for a threshold. */
static inline int error_count(int32_t label, float forgetting, float error, float *moments,
                              float *histogram)
{
    if (label == 1) {
        return 0;
    }
    moments[2] += moments[2] < 16777216.0f ? 1.0f : 0.0f;
    const float all = 1.0f / moments[2], least = 1.0f - forgetting;
    const float r = all > least ? all : least;
    const float d = error - moments[0], step = r * d;
    moments[0] += step;
    moments[1] = (1.0f - r) * (moments[1] + step * d);
    if (forgetting < 1.0f) {
        for (int32_t i = 0; i < ERROR_BINS; i++) {
            histogram[i] *= forgetting;
        }
    }
    histogram[error_bin(error)] += 1.0f;
    return moments[2] >= (float)ERROR_MINIMUM;
}

/* `flagged`: above the threshold, and nothing is to be learned from it. Such an error has no part in mean
 * and variance, which would follow faults. Of the histogram it is the P-th part of all: it counts at
 * the threshold, beyond whose bin it cannot take it. */
static inline void error_statistics_gaussian(int32_t label, int32_t flagged, float forgetting,
                                             float z, const float *error, float *moments,
                                             float *histogram, float *threshold)
{
    if (!flagged && error_count(label, forgetting, *error, moments, histogram)) {
        *threshold = moments[0] + z * __builtin_sqrtf(moments[1]);
    }
}

static inline void error_statistics_percentile(int32_t label, int32_t flagged, float forgetting,
                                               float percent, const float *error, float *moments,
                                               float *histogram, float *threshold)
{
    float total = 0.0f;

    if (!error_count(label, forgetting, flagged ? *threshold : *error, moments, histogram)) {
        return;
    }
    for (int32_t i = 0; i < ERROR_BINS; i++) {
        total += histogram[i];
    }
    float left = total * (percent / 100.0f);
    int32_t bin = 0;
    while (bin < ERROR_BINS - 1 && left > histogram[bin]) {
        left -= histogram[bin++];
    }
    const float from = error_edge(bin), width = error_edge(bin + 1) - from;
    *threshold = histogram[bin] > 0.0f ? from + width * (left / histogram[bin]) : from;
}

static inline void error_statistics_fixed(int32_t label, int32_t flagged, float forgetting,
                                          float value, const float *error, float *moments,
                                          float *histogram, float *threshold)
{
    (void)value;
    (void)threshold;
    if (!flagged) {
        error_count(label, forgetting, *error, moments, histogram);
    }
}

#endif
