"""The work of convolutions and of their gradients, float32 and int8; see `kernel_work`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from tinyodl.graph import Graph, Node
from tinyodl.ops import Struct
from tinyodl.planner.tiles import (
    STRIP_TAPS,
    TILE_ROWS,
    Axis,
    axis,
    gradient_axes,
    lanes_of,
    slide,
    strips,
    strips_fit,
)

Counts = Mapping[str, float]
Sizes = tuple[int, int, int, int, int, int]  # inputs, outputs, taps, stride, dilation, pad


@dataclass(frozen=True)
class Convolution:
    """The geometry of a convolution: a pointwise one's maps are one row."""

    channels: int
    filters: int
    groups: int
    kernel: tuple[int, int]
    rows: Sizes
    columns: Sizes
    learned: int  # filters in the weight
    learned_columns: int

    @classmethod
    def of(cls, struct: Struct) -> Convolution:
        """From the argument that kernels take."""
        s: dict[str, Any] = dict(struct.fields)
        rows, columns = (_axis(s, "height", "top"), _axis(s, "width", "left"))
        if rows[2:4] == columns[2:4] == (1, 1) and rows[0] == rows[1] and columns[0] == columns[1]:
            whole = rows[0] * columns[0]
            rows, columns = (1, 1, 1, 1, 1, 0), (whole, whole, 1, 1, 1, 0)
        return cls(
            s["in_channels"],
            s["out_channels"],
            s["groups"],
            (rows[2], columns[2]),
            rows,
            columns,
            s.get("filters", s["out_channels"]),
            s.get("columns", s["in_channels"] // s["groups"]),
        )

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.channels == self.filters

    @property
    def pointwise(self) -> bool:
        return self.kernel == (1, 1) and self.rows == (1, 1, 1, 1, 1, 0)

    @property
    def inputs(self) -> int:
        return self.channels * self.rows[0] * self.columns[0]

    @property
    def outputs(self) -> int:
        return self.filters * self.rows[1] * self.columns[1]

    @property
    def weights(self) -> int:
        return self.filters * (self.channels // self.groups) * prod(self.kernel)

    @property
    def window(self) -> int:
        """Elements under a filter."""
        return self.channels // self.groups * prod(self.kernel)

    @property
    def way(self) -> str:
        if self.depthwise:
            return "depthwise"
        return "pointwise" if self.pointwise else ""


def _axis(s: Mapping[str, int], side: str, before: str) -> Sizes:
    parts = (s[f"{name}_{side}"] for name in ("in", "out", "kernel", "stride", "dilation"))
    inputs, outputs, taps, stride, dilation = parts
    return inputs, outputs, taps, stride, dilation, s[f"pad_{before}"]


def _times(counts: Counts, factor: int) -> Counts:
    return {name: factor * count for name, count in counts.items()}


def _sum(several: list[Counts]) -> Counts:
    return {name: sum(counts[name] for counts in several) for name in several[0]}


def _conv(c: Convolution, *_: object) -> tuple[str, Counts]:
    down, along = axis(*c.rows), axis(*c.columns)
    if c.depthwise and strips_fit(down, along):
        return "depthwise", strips(c.filters, down, along)
    inner = along.on_map.count(along.taps)
    counts = slide(
        c.filters // c.groups,
        c.channels // c.groups,
        lanes_of(max(inner, 1), TILE_ROWS),
        down,
        along,
    )
    return c.way, _times(counts, c.groups)


def _input_gradient(c: Convolution, *_: object) -> tuple[str, Counts]:
    downs, alongs = gradient_axes(*c.rows), gradient_axes(*c.columns)
    if c.depthwise and len(downs) == len(alongs) == 1 and strips_fit(downs[0], alongs[0]):
        return "depthwise", strips(c.filters, downs[0], alongs[0])
    inputs, outputs, taps, stride, dilation, pad = c.columns
    reach = (taps - 1) * dilation
    inner = outputs - reach if stride == 1 and pad == 0 else (inputs - reach) // stride
    wide = lanes_of(max(inner, 1), TILE_ROWS)
    every = [
        slide(c.channels // c.groups, c.filters // c.groups, wide, down, along)
        for down in downs
        for along in alongs
    ]
    return c.way, _times(_sum(every), c.groups)


def _weight_gradient(c: Convolution, *_: object) -> tuple[str, Counts]:
    down, along = _by_tap(axis(*c.rows)), _by_tap(axis(*c.columns))
    met = sum(down) * sum(along)  # products of a filter and a channel
    if c.depthwise and c.kernel[1] <= STRIP_TAPS:
        loops = c.filters * sum(down) * -(-c.columns[1] // 4)
        return "depthwise", {
            "products": c.filters * met, "loops": loops, "weights": c.weights,
        }  # fmt: skip
    filters, channels = c.filters // c.groups, c.channels // c.groups
    high, wide = lanes_of(filters, TILE_ROWS), lanes_of(channels, TILE_ROWS)
    turns = c.groups * -(-filters // high) * -(-channels // wide)
    return c.way, {
        "products": turns * high * wide * met,
        "loads": turns * (high + wide) * met,
        "loops": turns * met,
        "rows": turns * sum(down) * c.kernel[1],
        "weights": c.weights,
    }


def _by_tap(windows: Axis) -> list[int]:
    """The windows for which each tap is on the map."""
    firsts = range(windows.start, windows.start + windows.windows * windows.stride, windows.stride)
    return [
        sum(0 <= first + k * windows.step < windows.elements for first in firsts)
        for k in range(windows.taps)
    ]


def _outputs(c: Convolution, node: Node) -> Counts:
    """Outputs by what is done to each: the change of a bias, tests on their range, their mask."""
    masked = len(node.outputs) > 1 and bool(node.outputs[1])
    learned = len(node.inputs) > 4 and bool(node.inputs[4])
    tight = bool(node.attrs["low"] > -128 or node.attrs["high"] < 127)
    n = c.outputs
    return {"outputs": n, "outputs that learn or are cut off": n * (masked or learned or tight),
            "outputs with mask": n * masked}  # fmt: skip


def _int8_conv(c: Convolution, node: Node, graph: Graph) -> tuple[str, Counts]:
    twos = c.rows[1] * -(-c.columns[1] // 2)
    if c.kernel == (1, 1):
        way = "of pixels"
    elif c.kernel == (3, 3) and c.columns[4] == 1:
        way = "of 3x3"
    else:
        way = "of words" if c.kernel[1] <= 4 and c.columns[4] == 1 else "of bytes"
    filters = c.filters // c.groups
    gathered = c.groups * twos * 2 * c.window
    return way, {
        "products": gathered * filters,
        "gathered": gathered,
        "rows gathered": c.groups * twos * 2 * (c.window // c.kernel[1]),
        "windows": c.groups * twos,
        "pairs of filters": c.groups * twos * -(-filters // 2),
        **_outputs(c, node),
    }


def _int8_dense(c: Convolution, node: Node, graph: Graph) -> tuple[str, Counts]:
    return "", {
        "products": c.weights,
        "gathered": c.inputs,
        "threes": -(-c.filters // 3),
        **_outputs(c, node),
    }


def _int8_depthwise(c: Convolution, node: Node, graph: Graph) -> tuple[str, Counts]:
    stride = max(c.rows[3], c.columns[3])
    if c.kernel == (3, 3) and stride <= 2:
        way = f"3x3 stride {stride}"
    else:
        way = "of pairs" if c.kernel[1] <= 7 and stride <= 2 else "of single products"
    return way, {
        "products": c.outputs * c.window,
        "gathered": c.inputs,
        "rows": c.filters * c.rows[1],
        "kernel rows": c.filters * c.rows[1] * c.kernel[0],
        "channels": c.filters,
        **_outputs(c, node),
    }


def _int8_input_gradient(c: Convolution, node: Node, graph: Graph) -> tuple[str, Counts]:
    window = c.window if not c.depthwise else prod(c.kernel)
    dense = c.inputs == c.channels and c.outputs == c.filters
    return "dense" if dense else c.way, {
        "products": c.outputs * window,
        "inputs": c.inputs,
        "weights": c.weights,
        "rows": 0 if dense or c.pointwise else c.weights // c.kernel[1] * c.rows[1],
    }


def _int8_weight_gradient(c: Convolution, node: Node, graph: Graph) -> tuple[str, Counts]:
    learned = graph.tensor(node.inputs[4]).size
    positions = c.rows[1] * c.columns[1]
    if positions == 1 and c.kernel == (1, 1):
        return "dense", {"weights": learned, "filters": c.learned}
    return c.way, {
        "products": learned * positions,
        "weights": learned,
        "rows": 0 if c.pointwise else learned * c.rows[1],
        "positions": c.learned * positions,
    }


CONVOLUTIONS: Mapping[str, Callable[[Convolution, Node, Graph], tuple[str, Counts]]] = {
    "conv_f32": _conv,
    "conv_input_gradient_f32": _input_gradient,
    "conv_weight_gradient_f32": _weight_gradient,
    "qlinear_conv_i8": _int8_conv,
    "qlinear_dense_i8": _int8_dense,
    "qlinear_depthwise_i8": _int8_depthwise,
    "qlinear_conv_input_gradient_i8": _int8_input_gradient,
    "qlinear_conv_input_gradient_columns_i8": _int8_input_gradient,
    "qlinear_conv_input_gradient_filters_i8": _int8_input_gradient,
    "qlinear_conv_weight_gradient_i8": _int8_weight_gradient,
}
