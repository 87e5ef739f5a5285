"""The samples of a rehearsal, from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyodl.project.manifest import ANY_LABEL
from tinyodl.samples.data import load_labelled
from tinyodl.samples.recordings import recordings, side_by_side


@dataclass(frozen=True)
class Material:
    """Labelled samples in the order of their recording.

    x       (N, *input) float32; where there are several inputs, (N, all of their values)
    y       (N,) class numbers
    groups  (N,) which recording each is of; None where nobody said
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    groups: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, which: NDArray[Any]) -> Material:
        """Some of the samples."""
        groups = None if self.groups is None else self.groups[which]
        return Material(self.x[which], self.y[which], groups)


def load_material(path: Path, inputs: Mapping[str, tuple[int, ...]]) -> Material:
    """The samples of a file for a model's `inputs`, shapes with the batch dimension of 1.

    An .npz may have `groups` (N,) beside `x` and `y`. Raises DataError.
    """
    parts, y = load_labelled(path, inputs, ANY_LABEL)
    return Material(side_by_side(parts), y, recordings(path, len(y)))


def halves(old: Material) -> tuple[Material, Material]:
    """Samples to begin from and samples to be asked about: every second stretch of each class."""
    begun = np.zeros(len(old), np.bool_)
    for label in np.unique(old.y).tolist():
        rows = np.flatnonzero(old.y == label)
        begun[rows] = np.arange(len(rows)) * min(2 * _STRETCHES, len(rows)) // len(rows) % 2 == 0
    return old.rows(np.flatnonzero(begun)), old.rows(np.flatnonzero(~begun))


_STRETCHES = 4


def thinned(material: Material, most: int) -> Material:
    """At most so many of the samples, evenly spread."""
    if len(material) <= most:
        return material
    return material.rows(np.arange(most) * len(material) // most)
