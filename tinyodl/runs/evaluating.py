"""An evaluation sample by sample: what the board predicted, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinyodl.interrupt import Wish
from tinyodl.runs.progress import OnProgress, Progress, Stage
from tinyodl.runs.record import Evaluation, finite
from tinyodl.samples.data import Samples

if TYPE_CHECKING:
    from tinyodl.session.session import Session


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of N samples, each evaluated once.

    `right` (N,) is NaN for samples without a label and for loss mse, else 0 or 1. `losses` (N,) is
    NaN where there is none: of samples whose label the network does not know.
    """

    right: NDArray[np.float64]
    losses: NDArray[np.float64]
    evaluation: Evaluation


def evaluate(
    session: Session, samples: Samples, stage: Stage, wish: Wish, progress: OnProgress | None
) -> Outcomes:
    """Evaluate every sample; nothing is learned. `wish` may end it."""
    known = session.labels()
    of_all = known is None or session.manifest.plan.reconstructs
    right = np.full(len(samples), np.nan)
    losses = np.full(len(samples), np.nan)
    predicted: list[int] = []
    judged = 0
    for index in range(len(samples)):
        wish.check()
        reply = session.client.evaluate(
            samples.x[index], session.target(samples, index), session.ahead(samples, index + 1)
        )
        predicted.append(reply.predicted)
        label = None if known is None else int(samples.y[index])
        if of_all or (known is not None and label in known):
            losses[index] = reply.loss
        if label is not None and label >= 0:
            judged += 1
            right[index] = label == reply.predicted
        if progress:
            accuracy = float(np.nansum(right)) / judged if judged else None
            progress(Progress(stage, index + 1, len(samples), accuracy))
    counted = losses if of_all else losses[_is_known(samples.y, known)]
    evaluation = Evaluation(
        samples=len(samples),
        loss=finite(sum(counted.tolist()) / len(counted)) if len(counted) else None,
        accuracy=float(np.nansum(right)) / judged if judged else None,
        **_confusion(samples, predicted, known, session.manifest.plan.labels is not None),
    )
    return Outcomes(right, losses, evaluation)


def _is_known(y: NDArray[Any], known: Sequence[int] | None) -> NDArray[np.bool_]:
    return np.isin(y, np.array(known or (), np.int64))


def _confusion(
    samples: Samples, predicted: list[int], known: Sequence[int] | None, open_ended: bool
) -> dict[str, Any]:
    """The fields `confusion` and `labels` of an Evaluation."""
    if known is None:
        return {"confusion": None}
    names = sorted({*known, *samples.y[samples.y >= 0].tolist()})
    place = {label: index for index, label in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=int)
    for label, answer in zip(samples.y.tolist(), predicted, strict=True):
        if label >= 0 and answer in place:
            counts[place[label], place[answer]] += 1
    return {
        "confusion": tuple(map(tuple, counts.tolist())),
        "labels": tuple(names) if open_ended else None,
    }
