"""Numbers of int8 layers that are worked out at compile time.

A layer makes v, its real output divided by the output's scale, as float32, and then
q = clamp(round(v) + zero_point, low, high), rounded half to even. A Relu or Clip behind it is a
tighter clamp: quantisation is monotone, so that is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tinyodl.graph import Graph, Node, Quantization, Tensor
from tinyodl.ops.shared.calls import Struct
from tinyodl.ops.shared.operator import (
    Backward,
    Rewrite,
)
from tinyodl.project.plan import UpdatePlan

LOWEST, HIGHEST = -128, 127


@dataclass(frozen=True)
class Bounds:
    """Where a layer's output is cut off: `low` and `high` clamp q.

    The gradient passes where pass_low < v < pass_high: where neither the activation nor the range
    of int8 cut v off. The convention is PyTorch's, of a Relu or hardtanh followed by
    fake_quantize: an activation passes nothing at its own bounds, while a v that is rounded to
    the last integer of the range still passes.
    """

    low: int
    high: int
    pass_low: float
    pass_high: float


def bounds(
    quantization: Quantization, minimum: float = -math.inf, maximum: float = math.inf
) -> Bounds:
    """The bounds of an int8 output, after an activation that clamps real values to a range."""
    zero = quantization.zero_point
    low, high = LOWEST - zero, HIGHEST - zero
    pass_low, pass_high = _rounds_to_at_least(low), _rounds_to_at_most(high)
    scale = np.float32(max(quantization.scale))  # any, where 0 is the only finite bound
    if math.isfinite(minimum):
        floor = np.float32(minimum) / scale
        low = int(np.clip(np.rint(floor), low, high))
        pass_low = max(pass_low, float(floor))
    if math.isfinite(maximum):
        ceiling = np.float32(maximum) / scale
        high = int(np.clip(np.rint(ceiling), low, high))
        pass_high = min(pass_high, float(ceiling))
    return Bounds(low + zero, high + zero, pass_low, pass_high)


def _rounds_to_at_least(low: int) -> float:
    """The largest float32 whose successors, and only they, are rounded to `low` or more."""
    half = np.float32(low - 0.5)  # rounded to the even neighbour
    return float(np.nextafter(half, np.float32(-np.inf)) if low % 2 == 0 else half)


def _rounds_to_at_most(high: int) -> float:
    return -_rounds_to_at_least(-high)


def output_struct(node: Node, graph: Graph) -> Struct:
    """How a node with the attributes low, high, pass_low, pass_high makes its first output."""
    zero = zero_point(node.outputs[0], graph)
    return Struct(
        "output_i8",
        (
            ("zero_point", zero),
            ("lowest", float(node.attrs["low"] - zero)),
            ("highest", float(node.attrs["high"] - zero)),
            ("pass_low", float(node.attrs["pass_low"])),
            ("pass_high", float(node.attrs["pass_high"])),
        ),
    )


def with_mask(node: Node, graph: Graph, plan: UpdatePlan) -> Rewrite:
    """`saves` of a node with an int8 output: the second says where the gradient passes, in bits."""
    y = node.outputs[0]
    mask = Tensor(f"<{y}.mask>", (-(-graph.tensor(y).size // 8),), dtype="uint8")
    return replace(node, outputs=(y, mask.name, *node.outputs[2:])), (mask,)


def through_mask(backward: Backward, node: Node, gy: str) -> str:
    """The gradient of v, given the output's gradient: zero where the mask has 0."""
    if node.outputs[1:2] in ((), ("",)):
        return gy
    y, mask = node.outputs[:2]
    return backward.emit("MaskGradient", node, (gy, mask), like=y, attrs={})


def zero_point(name: str, graph: Graph) -> int:
    """The integer that stands for 0 in a quantised tensor."""
    return _quantization(name, graph).zero_point


def scale(name: str, graph: Graph) -> float:
    """The scale of a tensor that is quantised as a whole."""
    (scale,) = _quantization(name, graph).scale
    return scale


def _quantization(name: str, graph: Graph) -> Quantization:
    found = graph.tensor(name).quantization
    if found is None:
        raise ValueError(f"tensor {name!r} is not quantised")
    return found


def multipliers(x: Quantization, w: Quantization, y: Quantization, channels: int) -> np.ndarray:
    """The factors from sums of products to steps of the output: s_x * s_w / s_y, float32 (M)."""
    s_x, s_w, s_y = (of.scales(channels).astype(np.float64) for of in (x, w, y))
    wide: np.ndarray = s_x * s_w / s_y
    return wide.astype(np.float32)
