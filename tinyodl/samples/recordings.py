"""Samples to choose with: several inputs side by side, and the recording of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinyodl.errors import DataError
from tinyodl.graph import Array
from tinyodl.samples.files import member, open_npz


def side_by_side(parts: Mapping[str, Array]) -> Array:
    """One input as it is, (N, *input); of several all values, (N, values)."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    return np.concatenate([part.reshape(len(part), -1) for part in parts.values()], axis=1)


def recordings(path: Path, count: int) -> Array | None:
    """`groups` (count,) of an .npz: which recording each sample is of. None where it is not said.

    Raises DataError for another shape.
    """
    if path.suffix.lower() == ".csv":
        return None
    with open_npz(path) as archive:
        if "groups" not in archive.files:
            return None
        groups = member(archive, "groups", path)
    if groups.shape != (count,):
        raise DataError(
            f"{path}: groups says which recording each of {count} samples is of, and has shape "
            f"{groups.shape}"
        )
    return groups
