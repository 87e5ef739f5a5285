"""Splits samples in the order of their recording: one part to learn from, one held out.

Neighbours in a recording look alike, often they overlap. So what is held out is whole recordings,
or long stretches, and never single samples. A stretch is cut of each class by itself: where a
person does one exercise after the other, every part still has all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyodl.errors import DataError

Rows = NDArray[np.int64]

FOLDS = 4
MOST_BESIDE = 0.2  # of a class's samples; where more lie beside a held one, all are learned from
_NEVER = -1  # the fold of a sample that is always learned from


@dataclass(frozen=True)
class Fold:
    """Row numbers, in the order of the samples.

    learned  those to learn from
    held     those to score
    """

    learned: Rows
    held: Rows


def folds_of(
    y: NDArray[Any], groups: NDArray[Any] | None = None, count: int = FOLDS
) -> tuple[Fold, ...]:
    """At most `count` folds of N samples; each class in a held part is in its learned part too.

    `y` (N,) class numbers, in the order of recording. `groups` (N,) say which recording each sample
    is of: a recording is held out whole. A class of one recording, and every class where no groups
    are given, is cut into `count` stretches. Windows overlap, so a sample beside a held one is in
    neither part, unless a class would lose too much of what there is to learn from. Raises
    DataError where nothing can be held out.
    """
    y = np.asarray(y)
    apart = _of_groups(y, np.asarray(groups), count) if groups is not None else {}
    fold = np.full(len(y), _NEVER)
    for label in np.unique(y).tolist():
        rows = np.flatnonzero(y == label)
        by_group = apart.get(label)
        fold[rows] = _stretches(len(rows), count) if by_group is None else by_group
    made = []
    for number in range(count):
        held = fold == number
        if held.any():
            learned = ~held & ~_beside(held, y, apart)
            made.append(Fold(np.flatnonzero(learned), np.flatnonzero(held)))
    if len(made) < 2:
        raise DataError(
            f"{len(y)} samples of {len(np.unique(y))} classes are too few to hold some out; give "
            "at least two of some class"
        )
    return tuple(made)


def _stretches(size: int, count: int) -> NDArray[Any]:
    """The fold of each of a class's samples: equal stretches; a single sample is never held out."""
    if size < 2:
        return np.full(size, _NEVER)
    return np.arange(size) * min(size, count) // size


def _of_groups(y: NDArray[Any], groups: NDArray[Any], count: int) -> Mapping[int, NDArray[Any]]:
    """The folds of the samples of each class that several folds of groups have.

    The largest group is placed first, each into the fold that has fewest samples of its classes.
    """
    names, index = np.unique(groups, return_inverse=True)
    labels, label = np.unique(y, return_inverse=True)
    table = np.zeros((len(names), len(labels)))
    np.add.at(table, (index, label), 1)
    filled = np.zeros((min(count, len(names)), len(labels)))
    places = np.zeros(len(names), np.int64)
    for group in np.argsort(-table.sum(axis=1), kind="stable").tolist():
        has = table[group] > 0
        places[group] = np.argmin(filled[:, has].sum(axis=1))
        filled[places[group]] += table[group]
    several = (filled > 0).sum(axis=0) > 1
    return {int(labels[k]): places[index[label == k]] for k in np.flatnonzero(several).tolist()}


def _beside(
    held: NDArray[np.bool_], y: NDArray[Any], apart: Mapping[int, NDArray[Any]]
) -> NDArray[np.bool_]:
    """The samples next to a held one; none of classes that are held out by recording."""
    near = np.zeros(len(held), np.bool_)
    near[1:] |= held[:-1]
    near[:-1] |= held[1:]
    near[np.isin(y, list(apart))] = False
    for label in np.unique(y[near]).tolist():
        rows = (y == label) & ~held
        if (rows & near).sum() > MOST_BESIDE * rows.sum():
            near[rows] = False
    return near
