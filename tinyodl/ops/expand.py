"""Expand: axes of size 1 repeated, and Tile, which is one between two views.

    y[i] = x[i, with 0 for every repeated axis]        gx = sum of gy over the repeated axes

The output's shape is in the attribute `shape`; x has as many dimensions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    OnnxNode,
    Operator,
    Scope,
    ShapeTuple,
    Unsupported,
    imports,
    no_macs,
    register,
)
from tinyodl.ops.shared.strides import Strided, check_axes, copy_call, whole


@imports(
    "Expand",
    becomes=("Expand", "Reshape", "Identity"),
    covers="any constant shape",
    limits="a shape that is computed; more than 6 dimensions larger than 1",
)
def expand(node: OnnxNode, scope: Scope) -> None:
    """Expand to the shape that its input and the given one broadcast to."""
    x = scope.activation(node, 0)
    target = scope.integers(node, 1)
    try:
        shape = np.broadcast_shapes(x.shape, target)
    except ValueError:
        raise Unsupported(f"it expands {x.shape} to {target}", "shapes that broadcast") from None
    seen = scope.view(node, x.name, (*(1,) * (len(shape) - len(x.shape)), *x.shape))
    _expand(node, scope, seen, shape, node.outputs[0])


@imports(
    "Tile",
    becomes=("Expand", "Reshape", "Identity"),
    covers="any constant repeats",
    limits="repeats that are computed; more than 6 dimensions larger than 1 in between",
)
def tile(node: OnnxNode, scope: Scope) -> None:
    """Tile: every axis becomes a pair (repeat, axis), whose first is expanded."""
    x = scope.activation(node, 0)
    repeats = scope.integers(node, 1)
    if len(repeats) != len(x.shape) or min(repeats, default=1) < 1:
        raise Unsupported(f"repeats are {list(repeats)} for {x.shape}", "at least 1 for each axis")
    pairs = list(zip(repeats, x.shape, strict=True))
    seen = scope.view(node, x.name, [part for _, size in pairs for part in (1, size)])
    shape = tuple(part for pair in pairs for part in pair)
    tiled = _expand(node, scope, seen, shape, scope.fresh(f"{node.outputs[0]}.pairs"))
    scope.view(node, tiled, [repeat * size for repeat, size in pairs], node.outputs[0])


def _expand(node: OnnxNode, scope: Scope, x: str, shape: ShapeTuple, output: str) -> str:
    if scope.tensors[x].shape == shape:
        return scope.emit("Identity", node.name, (x,), output)
    check_axes(shape)
    return scope.emit("Expand", node.name, (x,), output, {"shape": shape})


def expanded(
    node: OnnxNode, scope: Scope, x: str, shape: ShapeTuple, name: str, output: str
) -> str:
    """A tensor repeated along the axes of `shape`, by a node `name`; returns its name."""
    given = scope.tensors[x].shape
    seen = scope.view(node, x, (*(1,) * (len(shape) - len(given)), *given))
    return _expand(replace(node, name=name), scope, seen, shape, output)


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return tuple(node.attrs["shape"])


def _call(node: Node, graph: Graph) -> Call:
    (x,), (y,) = node.inputs, node.outputs
    own = zip(graph.shape(x), whole(graph.shape(x)).strides, strict=True)
    repeated = Strided(0, tuple(stride if size > 1 else 0 for size, stride in own))
    return copy_call(graph.shape(y), x, repeated, y, whole(graph.shape(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    sizes = enumerate(zip(backward.graph.shape(x), node.attrs["shape"], strict=True))
    axes = tuple(axis for axis, (given, size) in sizes if given != size)
    attrs = {"axes": axes, "keepdims": True}
    backward.add(x, backward.emit("ReduceSum", node, (gy,), like=x, attrs=attrs))


register(Operator("Expand", _call, "copy_f32.h", _shape, no_macs, _gradient))
