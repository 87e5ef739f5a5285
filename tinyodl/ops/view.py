"""Reshape: the same bytes seen with another shape. It costs nothing and calls no kernel.

The output's shape is that of its tensor; the frontend works it out.
Flatten, Squeeze, Unsqueeze and Reshape of ONNX all become this.
Attributes: shape (the whole output shape).
"""

from __future__ import annotations

from tinyodl.graph import Node
from tinyodl.ops.operator import Backward, Operator, ShapeTuple, no_macs, register


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return tuple(node.attrs["shape"])


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("Reshape", node, (gy,), like=x))


register(Operator("Reshape", None, None, _shape, no_macs, _gradient))
