"""Scales and bounds of int8 layers, as float layers and activations give them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tinyodl.graph import Array, Node, Quantization, Tensor


def bounds_after(node: Node, within: tuple[float, float]) -> tuple[float, float]:
    """The range of a Relu's or Clip's output, limited to `within`."""
    low, high = 0.0, math.inf
    if node.op == "Clip":
        low, high = min(node.attrs["min"], node.attrs["max"]), node.attrs["max"]
    return min(max(low, within[0]), within[1]), min(max(high, within[0]), within[1])


def scale_factor(x: Quantization, y: Quantization) -> float:
    """Steps of y in a step of x; infinite if that is no float32, or not the same everywhere."""
    if x.scale == y.scale:
        return 1.0
    if len(x.scale) > 1 or len(y.scale) > 1:
        return math.inf
    with np.errstate(over="ignore"):
        return float(np.float32(np.float64(x.scale[0]) / np.float64(y.scale[0])))


def as_integers(tensor: Tensor, data: Array, quantization: Quantization) -> Tensor:
    """A float constant as the integers that it stands for."""
    data = np.ascontiguousarray(data)
    return replace(
        tensor, shape=data.shape, dtype=data.dtype.name, data=data, quantization=quantization
    )
