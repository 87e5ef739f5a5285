"""The scratch memory that kernels of int8 convolutions fill before they multiply.

It holds two columns of inputs and the windows they are made from; one column if there is one output
for each filter; or for a depthwise layer a strip of widened rows, with its weights and sums
(`templates/kernels/qlinear_conv_i8.h`, `qlinear_depthwise_i8.h`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from tinyodl.ops.shared.operator import (
    ShapeTuple,
)

_STRIP = 80  # the least outputs of a depthwise layer at a time: then the cost of calls is small


def scratch_size(attrs: Mapping[str, Any], x: ShapeTuple, w: ShapeTuple, y: ShapeTuple) -> int:
    """In int16, for a QLinearConv from maps x to maps y, with w as it lies there."""
    in_group = x[1] // attrs["group"]
    if in_group == 1 and x[1] == y[1]:
        return _of_strip(attrs, w[2:], y)
    runs = (w[1], in_group - w[1])
    columns = [-(-run * prod(w[2:]) // 4) * 4 for run in runs if run]  # whole fours of weights
    if is_dense(attrs, x, w):
        return sum(columns)
    if w[2:] == (1, 1) and not any(attrs["pads"]):
        return 2 * sum(columns)
    return max(2 * sum(columns[:i]) + 5 * k // 2 + 4 for i, k in enumerate(columns))


def is_dense(attrs: Mapping[str, Any], x: ShapeTuple, w: ShapeTuple) -> bool:
    """Whether the only window of a layer in one group is all of x."""
    return bool(attrs["group"] == 1 and w[2:] == x[2:] and not any(attrs["pads"]))


def _of_strip(attrs: Mapping[str, Any], kernel: ShapeTuple, y: ShapeTuple) -> int:
    reach = [(kernel[axis] - 1) * attrs["dilations"][axis] + 1 for axis in (0, 1)]
    rows, strides = strip_rows(y), attrs["strides"]
    pairs = 2 if kernel[1] <= 3 else 3 if kernel[1] <= 5 else 4
    pitch = ((y[3] + 1) * strides[1] + reach[1] + 1) // 2 * 2
    table, sums = 4 * pairs * kernel[0], 2 * (rows * y[3] + 1)
    return int(table + sums + ((rows - 1) * strides[0] + reach[0]) * pitch)


def strip_rows(y: ShapeTuple) -> int:
    """How many rows of outputs a depthwise layer makes at a time."""
    return max(1, min(y[2], _STRIP // y[3]))
