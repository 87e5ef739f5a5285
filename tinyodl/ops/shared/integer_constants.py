"""Constants of quantised models: QuantizeLinear and DequantizeLinear as numpy computes them.

A weight of 2 or 4 bits around the middle of its range is an int8 one here; only the file holds it
packed. Constants of 16 bits become float32.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tinyodl.graph import Array
from tinyodl.ops.shared.importer import Unsupported

# The bits of each type, by the name of its numpy dtype.
_BITS = {"int2": 2, "int4": 4, "int8": 8, "int16": 16, "int32": 32}
_BITS |= {f"u{name}": bits for name, bits in _BITS.items() if bits < 32}


def limits(kind: np.dtype[Any]) -> tuple[int, int]:
    """The smallest and the largest integer of a type. Raises Unsupported for other types."""
    bits = _BITS.get(kind.name)
    if bits is None:
        raise Unsupported(f"it has numbers of the type {kind.name}", "integers of 2 to 32 bits")
    if kind.name.startswith("u"):
        return 0, (1 << bits) - 1
    return -(1 << bits - 1), (1 << bits - 1) - 1


def middle(kind: np.dtype[Any]) -> int | None:
    """The zero point at which integers of this type are int8 around 0; None if they are wider."""
    low, high = limits(kind)
    return (low + high + 1) // 2 if high - low < 256 else None


def quantized(x: Array, scale: Array, zero_point: Array, axis: int, block: int = 0) -> Array:
    """Real numbers as integers of the zero point's type."""
    low, high = limits(zero_point.dtype)
    zero = along(zero_point.astype(np.int64), x, axis, block)
    with np.errstate(over="ignore"):
        q = np.rint(x / along(scale, x, axis, block)) + zero
    made: Array = np.clip(q, low, high).astype(zero_point.dtype)
    return made


def dequantized(q: Array, scale: Array, zero_point: Array, axis: int, block: int = 0) -> Array:
    """The real numbers of integers, float32; infinite where they are too large."""
    limits(q.dtype)
    steps = q.astype(np.int64) - along(zero_point.astype(np.int64), q, axis, block)
    with np.errstate(over="ignore"):
        made: Array = steps.astype(np.float32) * along(scale, q, axis, block)
    return made


def along(values: Array, of: Array, axis: int, block: int = 0) -> Array:
    """`values` so that they can be broadcast with `of`.

    There is one value, or one for each index of an axis, or, with a `block`, one for each so many
    indices of the axis.
    """
    if values.size == 1:
        return values.reshape(())
    if not -of.ndim <= axis < of.ndim:
        raise Unsupported(f"axis is {axis} for {of.ndim} dimensions", "an axis of its input")
    if block:
        return _blocks(values, of, axis % of.ndim, block)
    if values.ndim != 1 or of.shape[axis] != values.size:
        raise Unsupported(
            f"{values.size} scales or zero points along axis {axis} of {of.shape}",
            "one for each index of an axis",
        )
    shape = [1] * of.ndim
    shape[axis] = values.size
    return values.reshape(shape)


def _blocks(values: Array, of: Array, axis: int, block: int) -> Array:
    """One value for each block of an axis, and for each index of the others."""
    wanted = list(of.shape)
    wanted[axis] = -(-wanted[axis] // block)
    if block < 0 or list(values.shape) != wanted or prod(wanted) == 0:
        raise Unsupported(
            f"scales or zero points of shape {values.shape} for blocks of {block} in {of.shape}",
            f"shape {tuple(wanted)}",
        )
    return np.repeat(values, block, axis).take(range(of.shape[axis]), axis)
