/* Drift by centroids: where the samples of each class lay that were learned, and where they lie now.
 *
 * x: a sample's features (f); c: its class among n, as predicted, of the first `among`, or as
 * labelled.
 *
 *   recent[c]  += (x - recent[c]) / min(count of c, window)       every sample, c predicted
 *   distance    = sqrt(mean of (recent[c] - trained[c])^2)
 *   trained[c] += (x - trained[c]) / count of c                   labelled samples, c the label
 *
 * Drift: distance > mean + z' sd of the distances of this class at labelled samples that were
 * predicted right and came after the first `window` of their class, once there are `warmup` of them.
 * Then the centroids that were learned are forgotten, those of all classes.
 *
 * z' = z for 32 features and more; for fewer it is larger, by 0.22 z for each doubling that leads to 32:
 * the fewer features there are, the wider the distances of samples that do not change scatter. Features
 * that do not move at all, as those of a dead unit, are not counted.
 *
 * counts (2, n): of recent and of trained. spread (3, n): number, mean and sum of squared deviations
 * of the distances (Welford 1962).
 */
#ifndef TINYODL_DRIFT_F32_H
#define TINYODL_DRIFT_F32_H

#include <stdint.h>

#include "flags.h"
#include "query_f32.h"

static inline void centroid_move_f32(int32_t f, float count, const float *restrict x,
                                     float *restrict centroid)
{
    for (int32_t i = 0; i < f; i++) {
        centroid[i] += (x[i] - centroid[i]) / count;
    }
}

/* moved: in how many features they differ. */
static inline float centroid_distance_f32(int32_t f, const float *a, const float *b, int32_t *moved)
{
    float sum = 0.0f;
    *moved = 0;
    for (int32_t i = 0; i < f; i++) {
        const float difference = a[i] - b[i];
        sum += difference * difference;
        *moved += difference != 0.0f;
    }
    return __builtin_sqrtf(sum / (float)f);
}

/* By how much more the distances of few features may deviate. */
static inline float drift_few_f32(int32_t features)
{
    float more = 1.0f;
    for (int32_t f = features > 0 ? features : 1; f < 32; f *= 2) {
        more += 0.22f;
    }
    return more;
}

/* seen[0] becomes 1 where a drift is found, -1 where one is half way there, else 0; seen[1] the
 * distance. */
static inline void drift_look_f32(int32_t n, int32_t f, int32_t among, float active,
                                  float window, float warmup, float z, const float *y,
                                  const float *x, const float *trained, float *recent,
                                  float *counts, float *spread, float *seen, uint32_t *flags)
{
    const int32_t c = largest_f32(among, y);
    float *learned = counts + n;
    int32_t moved;

    seen[0] = seen[1] = 0.0f;
    if (among == 0) {
        return;
    }
    counts[c] += counts[c] < window ? 1.0f : 0.0f;
    centroid_move_f32(f, counts[c] < window ? counts[c] : window, x, recent + c * f);
    seen[1] = centroid_distance_f32(f, recent + c * f, trained + c * f, &moved);
    if (active == 0.0f || spread[c] < warmup) {
        return;
    }
    const float deviation = __builtin_sqrtf(spread[2 * n + c] / spread[c]);
    const float above = drift_few_f32(moved) * z * deviation;
    if (seen[1] > spread[n + c] + above) {
        seen[0] = 1.0f;
        *flags |= FLAG_DRIFT;
        for (int32_t i = 0; i < n; i++) {
            learned[i] = 0.0f;
        }
        for (int32_t i = 0; i < 3 * n; i++) {
            spread[i] = 0.0f;
        }
    } else if (seen[1] > spread[n + c] + 0.5f * above) {
        seen[0] = -1.0f;
    }
}

/* Recursive least squares takes samples after a drift as seriously as its first ones: P begins anew
 * where no labelled sample has come since. begun[1]: how many came since P began. */
static inline void drift_retrain_f32(int32_t n, float active, const float *counts, float *begun)
{
    float learned = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        learned += counts[n + i];
    }
    if (active != 0.0f && learned == 0.0f) {
        begun[1] = 0.0f;
    }
}

static inline void drift_learn_f32(int32_t n, int32_t f, int32_t among, float window,
                                   int32_t label, const float *y, const float *x, float *trained,
                                   float *counts, float *spread, const float *seen)
{
    if (label < 0) {
        return;
    }
    float *learned = counts + n + label;
    float *count = spread + label, *mean = count + n, *squares = mean + n;

    if (learned[0] >= window && largest_f32(among, y) == label) {
        const float deviation = seen[1] - *mean;
        *count += 1.0f;
        *mean += deviation / *count;
        *squares += deviation * (seen[1] - *mean);
    }
    learned[0] += 1.0f;
    centroid_move_f32(f, learned[0], x, trained + label * f);
}

#endif
