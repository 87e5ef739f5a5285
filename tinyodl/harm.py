"""Whether a run did harm: the rules by which its learned weights are not kept.

With an evaluation before and after, the same samples are compared one by one. For classes, of n
samples b were right before and are wrong after, c the other way round. The accuracy fell by
(b - c) / n, with the standard error of a paired difference, sqrt(b + c - (b - c)^2 / n) / n: the
statistic of McNemar (1947). Clearly worse is a fall of at least two standard errors and of at least
2 points. Without classes the losses of the samples are compared: clearly worse is a mean that rose
by at least two standard errors of its paired differences, and by a tenth.

Without an evaluation only the loss of the stream can tell, of samples before they were learned: it
has run away when more than half of the last losses are above 4 times the loss of a network that
knows nothing, and above 4 times the mean of the first losses. Medians, because where a stream goes
from one class to the next a few losses are large in any stream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyodl.data import Samples
from tinyodl.evaluating import Outcomes
from tinyodl.manifest import Manifest
from tinyodl.runlog import Replay, Step

POINTS = 0.02  # that accuracy must have fallen by
RISE = 0.1  # the share that a mean loss must have risen by
ERRORS = 2.0  # standard errors
RUNAWAY = 4.0  # times the loss of knowing nothing
WINDOW = 50  # losses at either end of a stream
LEAST = 10  # losses that a stream must have to be judged


@dataclass(frozen=True)
class Verdict:
    """Whether the run did harm, and the evidence in a sentence."""

    harmed: bool
    sentence: str


def compared(before: Outcomes, after: Outcomes) -> Verdict:
    """The verdict of an evaluation on the same samples before and after."""
    judged = np.isfinite(before.right) & np.isfinite(after.right)
    if judged.any():
        return _of_classes(before.right[judged], after.right[judged])
    there = ~np.isnan(before.losses)
    return _of_losses(before.losses[there], after.losses[there])


def _of_classes(before: NDArray[np.float64], after: NDArray[np.float64]) -> Verdict:
    fall, error = _paired(before - after)
    found = (
        f"accuracy {100 * before.mean():.1f} % before and {100 * after.mean():.1f} % after on the "
        f"same {len(before)} samples: {-100 * fall:+.1f} points, two standard errors are "
        f"{100 * ERRORS * error:.1f}"
    )
    return Verdict(bool(fall >= POINTS and fall >= ERRORS * error), found)


def _of_losses(before: NDArray[np.float64], after: NDArray[np.float64]) -> Verdict:
    if not len(before):
        return Verdict(False, "the evaluation has no sample with a label to compare")
    if not np.isfinite(after).all():
        return Verdict(True, "losses of the evaluation after are no finite numbers")
    rise, error = _paired(after - before)
    found = (
        f"mean loss {before.mean():.4g} before and {after.mean():.4g} after on the same "
        f"{len(before)} samples: {rise:+.2g}, two standard errors are {ERRORS * error:.2g}"
    )
    clearly = rise >= ERRORS * error and after.mean() >= (1 + RISE) * before.mean()
    return Verdict(bool(clearly and rise > 0), found)


def _paired(differences: NDArray[np.float64]) -> tuple[float, float]:
    """(mean, its standard error)."""
    spread = float(np.sqrt(np.mean((differences - differences.mean()) ** 2)))
    return float(differences.mean()), spread / math.sqrt(len(differences))


def streamed(
    steps: Sequence[Step], replays: Sequence[Replay], samples: Samples, manifest: Manifest
) -> Verdict:
    """The verdict of the losses of a stream, and of the last epoch from a cache."""
    losses = np.array(
        [math.inf if s.loss is None else s.loss for s in steps if s.learned and not s.unlabelled]
    )
    if len(losses) < LEAST:
        return Verdict(False, f"too few losses to tell whether they run away ({len(losses)})")
    window = min(WINDOW, len(losses) // 2)
    limit = RUNAWAY * max(knowing_nothing(samples, manifest), float(losses[:window].mean()))
    last = float(np.median(losses[-window:]))
    if replays and replays[-1].loss is not None:
        last = max(last, replays[-1].loss)
    found = (
        f"median loss of the last {window} steps {last:.3g}, it has run away from {limit:.3g} on"
    )
    return Verdict(last > limit, found)


def knowing_nothing(samples: Samples, manifest: Manifest) -> float:
    """The loss of a network whose outputs say nothing of the sample."""
    loss = manifest.plan.loss
    if loss == "mse":
        return _variance(samples.y)
    if loss == "reconstruction":
        return _variance(samples.x)
    if loss in ("binary-cross-entropy", "reconstruction-cross-entropy"):
        return math.log(2)
    if loss == "one-hot":
        return 1 / max(len(np.unique(samples.y[samples.y >= 0])), 1)
    return math.log(max(math.prod(manifest.model.output_shape), 2))


def _variance(values: NDArray[np.float32]) -> float:
    return float(values.reshape(len(values), -1).astype(np.float64).var(axis=0).mean())
