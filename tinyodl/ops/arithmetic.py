"""Add: elementwise sum of two tensors of one shape; also how gradients that meet are added.

    y = a + b        ga = gy, gb = gy

A constant operand comes second. One value for each channel of a layer is folded into its bias.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Affine,
    Backward,
    Call,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    ShapeTuple,
    Unsupported,
    imports,
    no_macs,
    place,
    register,
)


@imports(
    "Add",
    becomes=("Add",),
    covers="two tensors of one shape, one of them may be constant",
    limits="broadcasting, except a constant for each channel directly after a layer",
)
def add(node: OnnxNode, scope: Scope) -> None:
    """Add: two tensors of one shape, or a constant that becomes a layer's bias."""
    constant = [slot for slot in (0, 1) if node.input(slot) in scope.constants]
    if not constant:
        a, b = scope.activation(node, 0), scope.activation(node, 1)
        if a.shape != b.shape:
            raise Unsupported(f"it adds the shapes {a.shape} and {b.shape}", "two of one shape")
        scope.emit("Add", node.name, (a.name, b.name), node.outputs[0])
        return
    slot = constant[0]
    x = scope.activation(node, 1 - slot)
    value = scope.floats(node, slot)
    padded = (1,) * (len(x.shape) - value.ndim) + value.shape
    if len(padded) != len(x.shape) or any(
        given not in (1, size) for given, size in zip(padded, x.shape, strict=True)
    ):
        raise Unsupported(
            f"it adds a constant of shape {value.shape} to {x.shape}", "one value per channel"
        )
    c = scope.parameter(node, slot, value.reshape(padded))
    scope.emit("Add", node.name, (x.name, c), node.outputs[0])


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return np.broadcast_shapes(*shapes)


def _fold(node: Node, graph: Graph) -> Affine | None:
    c = graph.tensor(node.inputs[1])
    return Affine(None, c.data, c.origin) if c.data is not None else None


def _leftover(node: Node, graph: Graph) -> Unsupported | None:
    if prod(graph.shape(node.inputs[1])) == prod(graph.shape(node.outputs[0])):
        return None
    return Unsupported(
        f"it adds a constant {place(node, graph)} and cannot be folded",
        "two tensors of one shape; a constant for each channel directly after a Conv, "
        "Gemm or MatMul whose output nothing else reads",
    )


def _call(node: Node, graph: Graph) -> Call:
    a, b = node.inputs
    y = node.outputs[0]
    return Call("add_f32", (graph.tensor(y).size, Ref(a), Ref(b), Ref(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    for operand in node.inputs:
        if backward.wants(operand):
            backward.add(operand, gy)


register(
    Operator(
        "Add",
        _call,
        "arithmetic_f32.h",
        _shape,
        no_macs,
        _gradient,
        in_place=(0, 1),
        fold=_fold,
        leftover=_leftover,
    )
)
