"""numpy's broadcasting of two operands, as `templates/kernels/broadcast.h` walks it."""

from __future__ import annotations

from math import prod

import numpy as np

from tinyodl.ops.shared.calls import Struct
from tinyodl.ops.shared.importer import Unsupported
from tinyodl.ops.shared.operator import (
    ShapeTuple,
)

MAX_AXES = 6  # BROADCAST_AXES of broadcast.h


def broadcast_shape(a: ShapeTuple, b: ShapeTuple) -> ShapeTuple:
    """The shape of what two operands make. Raises Unsupported when they do not fit."""
    try:
        made = np.broadcast_shapes(a, b)
    except ValueError:
        raise Unsupported(
            f"its operands have the shapes {a} and {b}", "shapes that can be broadcast"
        ) from None
    if len(_merged(a, b, made)) > MAX_AXES:
        raise Unsupported(
            f"broadcasting {a} with {b} alternates more than {MAX_AXES} times", "fewer axes"
        )
    return made


def broadcast_struct(a: ShapeTuple, b: ShapeTuple, output: ShapeTuple) -> Struct:
    """The constants of a walk over `output` with operands of the shapes `a` and `b`."""
    axes = _merged(a, b, output) or [(1, True, True)]
    sizes = [size for size, _, _ in axes]
    rest = (0,) * (MAX_AXES - len(axes))
    fields = {
        "size": sizes,
        "a": _steps([(size, walks_a) for size, walks_a, _ in axes]),
        "b": _steps([(size, walks_b) for size, _, walks_b in axes]),
    }
    listed = tuple((name, (*values, *rest)) for name, values in fields.items())
    return Struct("broadcast_shape", (("axes", len(axes)), *listed))


def _merged(a: ShapeTuple, b: ShapeTuple, output: ShapeTuple) -> list[tuple[int, bool, bool]]:
    """(size, whether a walks, whether b walks) of each axis; neighbours that agree are one."""
    rank = len(output)
    full_a, full_b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    axes: list[tuple[int, bool, bool]] = []
    for size, in_a, in_b in zip(output, full_a, full_b, strict=True):
        if size == 1:
            continue
        walks = (in_a == size, in_b == size)
        if axes and axes[-1][1:] == walks:
            axes[-1] = (axes[-1][0] * size, *walks)
        else:
            axes.append((size, *walks))
    return axes


def _steps(axes: list[tuple[int, bool]]) -> list[int]:
    """Elements from one index to the next on each axis; 0 on axes that are not walked."""
    return [
        prod(size for size, walks in axes[i + 1 :] if walks) if axes[i][1] else 0
        for i in range(len(axes))
    ]
