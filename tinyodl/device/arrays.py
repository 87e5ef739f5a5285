"""Arrays as the bytes that a board takes."""

from __future__ import annotations

import numpy as np

from tinyodl.errors import DataError
from tinyodl.graph import Array


def values_of(
    what: str,
    values: Array,
    shape: tuple[int, ...],
    dtype: str = "float32",
    finite: bool = True,
) -> bytes:
    """Little-endian values of an array that fits."""
    data = checked(what, values, shape, dtype, finite)
    return data.astype(data.dtype.newbyteorder("<")).tobytes()


def checked(
    what: str, values: Array, shape: tuple[int, ...], dtype: str, finite: bool = True
) -> Array:
    """The array as `dtype`; it must have `shape`, or `shape` without its first 1."""
    array = np.asarray(values)
    if array.shape != shape and not (shape[:1] == (1,) and array.shape == shape[1:]):
        raise DataError(f"{what} has shape {array.shape}, the model takes {shape}")
    wanted = np.dtype(dtype)
    if array.dtype.kind not in ("fiub" if wanted.kind == "f" else "iub"):
        raise DataError(f"{what} has dtype {array.dtype}, the model takes {dtype}")
    data = np.ascontiguousarray(array, dtype=wanted)
    if finite and not np.isfinite(data).all():
        raise DataError(f"{what} has values that are not finite in {dtype}")
    return data


def label_of(label: int | Array, least: int, classes: int) -> int:
    """A class number from `least` to below `classes`."""
    value = np.asarray(label)
    if value.size != 1 or value.dtype.kind not in "iu" or not least <= value.item() < classes:
        raise DataError(f"label {label!r} is not a class from {least} to {classes - 1}")
    return int(value.item())
