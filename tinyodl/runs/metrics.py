"""The device's own counts of its predictions, as in a run's log and the report.

Counts go on from run to run, like the weights: they are since the last RESET.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

from pydantic import BaseModel, ConfigDict

from tinyodl.graph import Array
from tinyodl.learning.state_names import (
    ANOMALIES,
    CONFUSION,
    HISTOGRAM,
    MOMENTS,
    NO_THRESHOLD,
    RECENT,
    THRESHOLD,
    bin_edges,
)
from tinyodl.project.manifest import Manifest


class ClassMetrics(BaseModel):
    """Counts for classes: `confusion[label][predicted]` counts samples, in the order of `labels`.

    A sample that came when no output had a label yet has no prediction and is in neither. `recent`
    is the accuracy in which older predictions count less; None where there were none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]
    recent: float | None

    @property
    def samples(self) -> int:
        """Predictions that were counted."""
        return sum(map(sum, self.confusion))

    @property
    def accuracy(self) -> float | None:
        """The share of right ones."""
        right = sum(row[index] for index, row in enumerate(self.confusion))
        return right / self.samples if self.samples else None

    @property
    def macro_f1(self) -> float | None:
        """The mean of 2 right / (labelled so + predicted so) over the classes that there were."""
        scores = []
        for index, row in enumerate(self.confusion):
            either = sum(row) + sum(other[index] for other in self.confusion)
            if either:
                scores.append(2 * row[index] / either)
        return sum(scores) / len(scores) if scores else None


class ErrorMetrics(BaseModel):
    """Counts for reconstructions: the learned errors, and the samples above the threshold.

    `anomalies` has a row for each of the labels normal, anomaly, and none, with the number of
    samples below and above the threshold as it was then. `threshold` is None if there is none yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    threshold: float | None
    errors: int
    mean: float
    deviation: float
    histogram: tuple[float, ...]
    anomalies: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    @property
    def edges(self) -> tuple[float, ...]:
        """The edges of the histogram's bins: one more than bins."""
        return tuple(bin_edges().tolist())


Metrics = ClassMetrics | ErrorMetrics


def read_metrics(
    manifest: Manifest, labels: Sequence[int] | None, read: Callable[[str], Array]
) -> Metrics | None:
    """A board's counts; None if it counts nothing. `read` reads a kept tensor."""
    if manifest.plan.reconstructs:
        normal, anomaly, none = ((int(a), int(b)) for a, b in read(ANOMALIES).tolist())
        mean, variance, errors = map(float, read(MOMENTS))
        threshold = float(read(THRESHOLD)[0])
        return ErrorMetrics(
            rule=manifest.plan.threshold,
            threshold=threshold if threshold < NO_THRESHOLD else None,
            errors=int(errors),
            mean=mean,
            deviation=sqrt(variance),
            histogram=tuple(read(HISTOGRAM).tolist()),
            anomalies=(normal, anomaly, none),
        )
    if "counts" not in manifest.plan.beside or labels is None:
        return None
    right, seen = map(float, read(RECENT))
    there = len(labels)
    return ClassMetrics(
        labels=tuple(labels),
        confusion=tuple(map(tuple, read(CONFUSION)[:there, :there].tolist())),
        recent=right / seen if seen else None,
    )
