"""Copies between tensors with strides, as `templates/kernels/copy_f32.h` makes them.

Places are counted in elements. Neighbouring axes that lie behind each other on both sides become
one, so most copies have one or two axes left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tinyodl.ops.shared.calls import Call, Ref, Struct
from tinyodl.ops.shared.importer import Unsupported
from tinyodl.ops.shared.operator import (
    ShapeTuple,
)

MAX_AXES = 6  # of size 2 and more; three outer and three inner ones in C
_HALF = MAX_AXES // 2


@dataclass(frozen=True)
class Strided:
    """Where a block lies in a tensor: its first element, and the step along each of its axes."""

    start: int
    strides: tuple[int, ...]


def whole(shape: ShapeTuple) -> Strided:
    """All of a tensor, in its own order."""
    return Strided(0, tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))))


def region(shape: ShapeTuple, starts: Sequence[int], steps: Sequence[int] = ()) -> Strided:
    """The part of a tensor that begins at `starts` and takes every `steps`-th element (1)."""
    own = whole(shape).strides
    start = sum(first * stride for first, stride in zip(starts, own, strict=True))
    if not steps:
        return Strided(start, own)
    return Strided(start, tuple(n * stride for n, stride in zip(steps, own, strict=True)))


def copy_call(sizes: ShapeTuple, source: str, at: Strided, target: str, to: Strided) -> Call:
    """Copy a block of these sizes from its place in `source` to its place in `target`."""
    axes = merged_axes(sizes, at.strides, to.strides)
    inner = axes[-1:] if len(axes) <= _HALF + 1 else axes[-_HALF:]
    outer = axes[: len(axes) - len(inner)]
    shape = Struct(
        "copy_shape",
        (
            ("outer", three(outer, 0)),
            ("inner", three(inner, 0)),
            ("from_start", at.start),
            ("from_outer", three(outer, 1)),
            ("from_inner", three(inner, 1)),
            ("to_start", to.start),
            ("to_outer", three(outer, 2)),
            ("to_inner", three(inner, 2)),
        ),
    )
    return Call("copy_f32", (shape, Ref(source), Ref(target)))


def fill_call(elements: int, value: float, target: str) -> Call:
    """Set all elements of a tensor to one value."""
    return Call("fill_f32", (elements, value, Ref(target)))


def merged_axes(sizes: ShapeTuple, *strides: Sequence[int]) -> list[tuple[int, ...]]:
    """(size, stride, stride, ...) of the axes that are left when neighbours become one."""
    axes: list[tuple[int, ...]] = []
    for size, *steps in zip(sizes, *strides, strict=True):
        if size == 1:
            continue
        if axes and all(
            last == size * step for last, step in zip(axes[-1][1:], steps, strict=True)
        ):
            axes[-1] = (axes[-1][0] * size, *steps)
        else:
            axes.append((size, *steps))
    return axes


def check_axes(shape: ShapeTuple) -> None:
    """Raises Unsupported when a tensor may need more axes than a walk over it has."""
    if sum(size > 1 for size in shape) > MAX_AXES:
        raise Unsupported(
            f"it works on the shape {shape}", f"up to {MAX_AXES} dimensions larger than 1"
        )


def three(axes: Sequence[tuple[int, ...]], column: int) -> tuple[int, ...]:
    """One column of up to three merged axes, filled up for C: sizes (column 0) with 1, else 0."""
    values = tuple(axis[column] for axis in axes)
    return (*values, *((1 if column == 0 else 0,) * (_HALF - len(values))))
