"""What the device keeps beside weights that the host reads by name."""

from __future__ import annotations

LABELS = "<labels>"  # what the outputs stand for, -1 where one is free: int32 (outputs)
