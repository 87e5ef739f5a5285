"""Why a loss stopped being a number: the sample, or a loss that grew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyodl.runs.record import Step
from tinyodl.samples.data import Samples

_RECENT = 3  # samples that may be the cause: this one and the ones just before
_FAR = 10.0  # times the largest value before
_GROWTH = 10.0  # times the losses at the beginning
_WINDOW = 5


def why_not_finite(steps: Sequence[Step], samples: Samples) -> str:
    """A sentence on a stream whose last step has no finite loss: the cause, and what to do.

    A sample is extraordinary if its largest value is more than 10 times the largest of all samples
    before. The loss grew if its last values were 10 times the first ones.
    """
    learned = [step for step in steps if not step.outlier]
    recent, earlier = learned[-_RECENT:], learned[:-_RECENT]
    seen = max((_size(samples, step) for step in earlier), default=0.0)
    suspect = max(recent, key=lambda step: _size(samples, step))
    size = _size(samples, suspect)
    if earlier and size > _FAR * seen:
        return (
            f"sample {suspect.sample} of {samples.source} is extraordinary: its largest value is "
            f"{size:.6g}, and no sample before it went beyond {seen:.6g}; look at that row, and "
            "leave it away if it is a fault of the sensor"
        )
    losses = [step.loss for step in steps if step.loss is not None]
    this = f"the largest value of sample {steps[-1].sample} is {_size(samples, steps[-1]):.6g}"
    if not losses:
        return (
            f"nothing had been learned before: {this}; are the samples in the units that the "
            "network was trained with?"
        )
    half = max(1, min(_WINDOW, len(losses) // 2))
    first, last = float(np.mean(losses[:half])), float(np.median(losses[-half:]))
    if len(losses) > 1 and last > _GROWTH * max(first, 1.0):
        return (
            f"the loss had grown from {first:.3g} to {last:.3g}: the learning rate is too high for "
            "this model and data; give a smaller --lr"
        )
    rows = ", ".join(str(step.sample) for step in recent)
    return (
        f"no sample is extraordinary ({this}, of those before {seen:.6g}), and the loss had not "
        f"grown (it was {losses[-1]:.3g}): one step was too large. Look at rows {rows} of "
        f"{samples.source}, or give a smaller --lr"
    )


def _size(samples: Samples, step: Step) -> float:
    """The largest absolute value of a sample, and of its target where it has one."""
    size = float(np.abs(samples.x[step.sample]).max())
    target = samples.y[step.sample]
    return size if target.ndim == 0 else max(size, float(np.abs(target).max()))
