"""Inputs that look as a sensor gives them, where a network was trained on scaled ones."""

from __future__ import annotations

import numpy as np

from tinyodl.project.manifest import Manifest
from tinyodl.samples.data import Samples

LARGE = 100.0  # root mean square of inputs that nobody scaled
_SCALE = "give x the scale that the network was trained on, mostly values between -1 and 1"


def remark(samples: Samples, manifest: Manifest) -> str | None:
    """A sentence about inputs that seem not to be scaled; None where they do.

    Whole numbers beyond -1, 0 and 1 are raw counts, and so is what has a root mean square above
    `LARGE`. Inputs that are int8 were calibrated, and are taken as they are.
    """
    if manifest.model.input_quantization:
        return None
    x = samples.x
    low, high = float(x.min()), float(x.max())
    if max(-low, high) > 1 and (x == np.rint(x)).all():
        return f"{samples.source}: x holds whole numbers from {low:g} to {high:g}; {_SCALE}"
    rms = float(np.sqrt(np.square(x, dtype=np.float64).mean()))
    if rms > LARGE:
        return (
            f"{samples.source}: x holds numbers from {low:g} to {high:g}, root mean square "
            f"{rms:.3g}; {_SCALE}"
        )
    return None
