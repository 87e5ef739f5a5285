"""Names of the tensors, beside weights, that the device keeps and the host reads."""

from __future__ import annotations

import numpy as np

from tinyodl.graph import Array

LABELS = "<labels>"  # the label of each output, -1 for a free one: int32 (outputs)
CONFUSION = "<confusion>"  # int32 (outputs, outputs): [output of the label][output predicted]
RECENT = "<recent>"  # float32 (2): right predictions and all, the older the less
MOMENTS = "<error moments>"  # float32 (3): mean, variance and count of errors
HISTOGRAM = "<error histogram>"  # float32 (bins)
THRESHOLD = "<threshold>"  # float32 (1): of the error
ANOMALIES = "<anomalies>"  # int32 (3, 2): [label normal, anomaly, not known][not flagged, flagged]

NO_THRESHOLD = float(np.finfo(np.float32).max)  # in its place: nothing is above it

BINS = 96  # of the histogram: four an octave
FIRST = -16  # the exponent of the first bin's lower edge


def bin_edges() -> Array:
    """The edges of the histogram's bins, float32 (BINS + 1)."""
    return ((np.arange(BINS + 1, dtype=np.uint32) + (FIRST + 127) * 4) << 21).view(np.float32)


def bins_of(errors: Array) -> Array:
    """The bin of each error."""
    bits = np.asarray(errors, np.float32).view(np.uint32) >> 21
    return np.clip(bits.astype(np.int64) - (FIRST + 127) * 4, 0, BINS - 1)
