/* What a step has to tell beside its prediction: docs/protocol.md. */
#ifndef TINYODL_FLAGS_H
#define TINYODL_FLAGS_H

enum {
    FLAG_WANTED = 1,    /* the label of this sample */
    FLAG_DRIFT = 2,     /* the samples are other than those that were learned */
    FLAG_UNTRAINED = 4, /* too few samples since the start or the last drift */
    FLAG_UNSURE = 8,    /* the margin is below the threshold */
    FLAG_CHANCE = 16,   /* asked to see how often answers that nobody checks are wrong */
    FLAG_HELD_BACK = 32, /* the guard tests with this sample, which is not trained on */
    FLAG_KEPT = 64,     /* the parameters are the best so far, and are kept */
    FLAG_RETURNED = 128, /* the parameters have become worse, and are what was kept */
    FLAG_OUTLIER = 256, /* the sample is far outside what was seen, and is not trained on */
    FLAG_BOUNDED = 512, /* the step was too large for this sample, and was made smaller */
};

#endif
