"""Whether a run did harm: then its learned weights are not kept.

With an evaluation before and after, the same samples are compared one by one. For classes: of n
samples, b were right before and are wrong after, c the other way round. The accuracy fell by
(b - c) / n, with the standard error of a paired difference, sqrt(b + c - (b - c)^2 / n) / n: the
statistic of McNemar (1947). A fall of at least two standard errors and at least 2 points is clearly
worse. Without classes the losses of the samples are compared: a rise of the mean by at least two
standard errors of its paired differences, and by a tenth, is clearly worse.

Without an evaluation the only evidence is the loss of the stream, of each sample before it is
learned. The unit is the loss of a network that knows nothing, or the mean of the first losses if
this is more, but at most 10 times as much. A loss has run away when more than half of the last
losses are above 4 units (a few are in any stream, at a change of class), or when their mean is
above 100 units; or when the mean loss of the evaluation after the run is above 100 units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyodl.project.manifest import Manifest
from tinyodl.runs.evaluating import Outcomes
from tinyodl.runs.record import Replay, Step
from tinyodl.samples.data import Samples

POINTS = 0.02  # the least fall of accuracy
RISE = 0.1  # the least rise of a mean loss, as a share
ERRORS = 2.0  # standard errors
HALF, MEAN = 4.0, 100.0  # times the loss to begin with, of half of the last losses, of their mean
MOST_AT_FIRST = 10.0  # times the loss of knowing nothing
WINDOW = 50  # losses at either end of a stream
LEAST = 10  # the fewest losses to judge a stream by


@dataclass(frozen=True)
class Verdict:
    """Whether the run did harm, and the evidence in a sentence."""

    harmed: bool
    sentence: str


def compared(before: Outcomes, after: Outcomes, nothing: float) -> Verdict:
    """The verdict of an evaluation on the same samples before and after.

    `nothing` is the loss of knowing nothing.
    """
    there = ~np.isnan(before.losses)
    if there.any():
        limit = MEAN * _to_begin_with(nothing, before.losses[there])
        mean = float(after.losses[there].mean())
        if not mean <= limit:
            found = "the mean loss of the evaluation has run away, from "
            return Verdict(True, f"{found}{before.losses[there].mean():.3g} to {mean:.3g}")
    judged = np.isfinite(before.right) & np.isfinite(after.right)
    if judged.any():
        return _of_classes(before.right[judged], after.right[judged])
    return _of_losses(before.losses[there], after.losses[there])


def _of_classes(before: NDArray[np.float64], after: NDArray[np.float64]) -> Verdict:
    fall, error = _paired(before - after)
    points = round(-100 * fall, 1) + 0.0  # not -0.0
    found = (
        f"accuracy {100 * before.mean():.1f} % before and {100 * after.mean():.1f} % after on the "
        f"same {len(before)} samples: {points:+.1f} points, two standard errors are "
        f"{100 * ERRORS * error:.1f}"
    )
    return Verdict(bool(fall >= POINTS and fall >= ERRORS * error), found)


def _of_losses(before: NDArray[np.float64], after: NDArray[np.float64]) -> Verdict:
    if not len(before):
        return Verdict(False, "the evaluation has no sample with a label to compare")
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


def with_stream(
    verdict: Verdict | None,
    steps: Sequence[Step],
    replays: Sequence[Replay],
    samples: Samples,
    manifest: Manifest,
) -> Verdict:
    """The verdict of an evaluation, where there is one, and of the stream together."""
    found = streamed(steps, replays, samples, manifest)
    if verdict is None:
        told = f"without --eval only a loss that runs away tells: {found.sentence}"
        return Verdict(found.harmed, told)
    if found.harmed and not verdict.harmed:
        return Verdict(True, f"{found.sentence}; {verdict.sentence}")
    return verdict


def streamed(
    steps: Sequence[Step], replays: Sequence[Replay], samples: Samples, manifest: Manifest
) -> Verdict:
    """The verdict of the losses of a stream, and of the last epoch from a cache."""
    losses = np.array(
        [math.inf if step.loss is None else step.loss for step in _learned(steps, manifest)]
    )
    if len(losses) < LEAST:
        return Verdict(False, f"too few losses to tell whether they run away ({len(losses)})")
    window = min(WINDOW, len(losses) // 2)
    begun = _to_begin_with(knowing_nothing(samples, manifest), losses[:window])
    half, mean = float(np.median(losses[-window:])), float(losses[-window:].mean())
    if replays:
        last = replays[-1].loss
        half = max(half, math.inf if last is None else last)
    found = (
        f"of the last {window} losses half are above {half:.3g}, their mean is {mean:.3g}; run "
        f"away would be {HALF * begun:.3g}, or a mean of {MEAN * begun:.3g}"
    )
    return Verdict(half > HALF * begun or mean > MEAN * begun, found)


def _learned(steps: Sequence[Step], manifest: Manifest) -> list[Step]:
    """The learned steps: their losses should be small.

    An autoencoder learns normal samples, so its errors at anomalies stay large, as they should. If
    any samples are labelled normal, only they count, else unlabelled ones it takes for normal.
    """
    learned = [s for s in steps if s.learned and not s.unlabelled and not s.outlier]
    if not manifest.plan.reconstructs:
        return learned
    normal = [step for step in learned if step.label == 0]
    return normal or [s for s in learned if s.label is None and s.predicted == 0]


def _to_begin_with(nothing: float, losses: NDArray[np.float64]) -> float:
    """The unit: the mean of the first losses, limited to 1 to 10 times the loss `nothing`."""
    return max(nothing, min(float(losses.mean()), MOST_AT_FIRST * nothing))


def knowing_nothing(samples: Samples, manifest: Manifest) -> float:
    """The loss of a network whose outputs say nothing of the sample."""
    loss = manifest.plan.loss
    if loss == "mse":
        return _variance(samples.y)
    if loss == "reconstruction":
        return _variance(samples.x)
    if loss in ("binary-cross-entropy", "reconstruction-cross-entropy"):
        return math.log(2)
    if loss == "zero-one":
        return 1 - 1 / max(math.prod(manifest.model.output_shape), 2)
    if loss == "one-hot":
        return 1 / max(len(np.unique(samples.y[samples.y >= 0])), 1)
    return math.log(max(math.prod(manifest.model.output_shape), 2))


def _variance(values: NDArray[np.float32]) -> float:
    return float(values.reshape(len(values), -1).astype(np.float64).var(axis=0).mean())
