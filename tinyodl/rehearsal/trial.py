"""How well a network learns from samples: the C of a board, in this process, on held-out samples.

    with HostNetwork.of(lowered) as net:
        slow = try_out(net, x, y, rate=0.001)
        fast = try_out(net, x, y, rate=0.01)
    gain = difference(fast, slow)  # of the same folds: the error is that of the pairs

A network learns from one part of the samples, from its state as compiled, and is then asked for the
labels of the other part, from which it has not learned. Each part is held out once a seed. Accuracy
while learning is no evidence: in a stream with labels in blocks a network that repeats the last
label is right almost always (`samples.evidence`).

One network serves all settings that it takes at run time, its learning rate among them: nothing
needs to be compiled again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyodl.errors import DataError, UserError
from tinyodl.host_run.network import HostNetwork
from tinyodl.rehearsal.folds import FOLDS, Fold, Rows, folds_of

Order = Literal["shuffled", "recorded"]
Labelled = tuple[ArrayLike, ArrayLike]  # samples (N, ...) and their class numbers (N,)

_ROUNDING = 1e-9  # of sums of shares


@dataclass(frozen=True)
class Course:
    """How a network learns from a part of the samples.

    order   shuffled: a permutation of its own for each seed, fold and pass; recorded: as they are
    passes  how often it learns from all of them
    seeds   one trial of all folds for each; in recorded order all are equal, and one will do
    folds   the number of parts that are held out in turn
    """

    order: Order = "shuffled"
    passes: int = 1
    seeds: tuple[int, ...] = (0, 1)
    folds: int = FOLDS


@dataclass(frozen=True)
class Outcome:
    """What came of a trial. Shares are from 0 to 1.

    accuracy  the share of held-out samples predicted right: the mean over seeds
    error     the standard error of `accuracy`, from how much the folds differ; at least that of as
              many samples that have nothing to do with each other
    by_seed   the accuracy of each seed
    worst     the same share for the class where it is least, `worst_label`
    kept      the share of old samples predicted right after learning; None where none were given
    finite    every loss was a finite number; elsewhere the accuracy says nothing of use
    steps     samples that were learned
    held      samples held out, by fold
    right     for each of them, fold after fold: with how many seeds it was predicted right
    """

    accuracy: float
    error: float
    by_seed: tuple[float, ...]
    worst: float
    worst_label: int
    kept: float | None
    finite: bool
    steps: int
    held: tuple[int, ...]
    right: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """The accuracy of one trial less that of another, with its standard error over the folds."""

    mean: float
    error: float

    @property
    def ties(self) -> bool:
        """Whether it is at most one standard error; a single sample's difference is just that."""
        return self.mean <= self.error * (1 + _ROUNDING)


def try_out(
    net: HostNetwork,
    x: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    rate: float | None = None,
    old: Labelled | None = None,
    course: Course = Course(),
) -> Outcome:
    """Cross-validates a network of class labels on N samples; the same arguments, the same outcome.

    `x` (N, ...) as `HostNetwork` takes them, `y` (N,) class numbers, both in the order of
    recording; `groups` (N,) say which recording each sample is of (`folds.folds_of`). `rate` is the
    learning rate, by default the plan's. Of the `old` samples nothing is learned. The network is
    left as compiled. Raises UserError for a network without labels, DataError for samples that do
    not fit.
    """
    if net.target is not None:
        raise UserError("a trial needs a network that learns from class labels")
    samples, labels = np.asarray(x), np.asarray(y)
    if labels.shape != samples.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(f"{len(samples)} samples need as many class numbers, not {labels.shape}")
    folds = folds_of(labels, None if groups is None else np.asarray(groups), course.folds)
    answers = np.zeros((len(course.seeds), len(labels)), np.int64)
    kept: list[float] = []
    finite, steps = True, 0
    for number, seed in enumerate(course.seeds):
        for index, fold in enumerate(folds):
            net.reset()
            if rate is not None:
                net.learning_rate(rate)
            for rows in _orders(fold, course, (seed, index)):
                losses = net.train_all(samples[rows], labels[rows]).losses
                finite = finite and bool(np.isfinite(losses).all())
                steps += len(rows)
            net.settle()
            answers[number, fold.held] = net.evaluate_all(
                samples[fold.held], labels[fold.held]
            ).predicted
            if old is not None:
                there = np.asarray(old[1])
                kept.append(float((net.evaluate_all(old[0], there).predicted == there).mean()))
    net.reset()
    return _outcome(answers, labels, folds, kept, finite, steps)


def difference(one: Outcome, other: Outcome) -> Difference:
    """`one` less `other`: two trials of the same samples and groups, with as many folds and seeds.

    The error is that of pairs: most of what makes a sample hard is hard for both. Raises UserError
    for trials of other folds.
    """
    if (one.held, len(one.by_seed)) != (other.held, len(other.by_seed)):
        raise UserError("two trials are compared on the same folds; these held out other samples")
    less = (np.array(one.right) - np.array(other.right)) / len(one.by_seed)
    return Difference(float(less.mean()), _error_of(less, one.held))


def _orders(fold: Fold, course: Course, key: tuple[int, int]) -> list[Rows]:
    """The rows to learn from in each pass."""
    if course.order == "recorded":
        return [fold.learned] * course.passes
    random = np.random.default_rng(key)
    return [random.permutation(fold.learned) for _ in range(course.passes)]


def _outcome(
    answers: NDArray[np.int64],
    labels: NDArray[Any],
    folds: tuple[Fold, ...],
    kept: list[float],
    finite: bool,
    steps: int,
) -> Outcome:
    """What the answers (seeds, N) are worth, of which those held out in `folds` count."""
    rows, held = np.concatenate([f.held for f in folds]), tuple(len(f.held) for f in folds)
    correct, truth = (answers == labels)[:, rows], labels[rows]
    shares = correct.mean(axis=0)
    worst, label = min((float(shares[truth == k].mean()), int(k)) for k in np.unique(truth))
    return Outcome(
        accuracy=float(shares.mean()),
        error=_error_of(shares, held),
        by_seed=tuple(correct.mean(axis=1).tolist()),
        worst=worst,
        worst_label=label,
        kept=math.fsum(kept) / len(kept) if kept else None,
        finite=finite,
        steps=steps,
        held=held,
        right=tuple(correct.sum(axis=0).tolist()),
    )


def _error_of(values: NDArray[np.float64], held: tuple[int, ...]) -> float:
    """The standard error of the mean of `values`, of which each fold has `held` in a row.

    Samples of a fold are not independent: their means differ by more than chance. But of four folds
    the spread may be small by chance, so the error of independent samples is the least.
    """
    mean, sizes, count = float(values.mean()), np.array(held), len(held)
    sums = np.add.reduceat(values - mean, np.cumsum((0, *held[:-1])))
    of_folds = float((sums**2).sum()) / sizes.sum() ** 2 * count / (count - 1)
    return math.sqrt(max(of_folds, float(values.var(ddof=1)) / len(values)))
