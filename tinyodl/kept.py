"""What the device keeps beside weights that the host reads by name."""

from __future__ import annotations

LABELS = "<labels>"  # what the outputs stand for, -1 where one is free: int32 (outputs)
CONFUSION = "<confusion>"  # int32 (outputs, outputs): [output of the label][output predicted]
RECENT = "<recent>"  # float32 (2): right predictions and all, the older the less
MOMENTS = "<error moments>"  # float32 (3): mean, variance and count of errors
HISTOGRAM = "<error histogram>"  # float32 (bins)
THRESHOLD = "<threshold>"  # float32 (1): of the error
ANOMALIES = "<anomalies>"  # int32 (3, 2): [label normal, anomaly, not known][not flagged, flagged]
