"""Softmax over the last axis.

y[i] = exp(x[i] - max x) / sum over j of exp(x[j] - max x)
gx[i] = y[i] * (gy[i] - sum over j of gy[j] * y[j])
"""

from __future__ import annotations

from math import prod

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    Unsupported,
    imports,
    no_macs,
    register,
    same_shape,
)


@imports(
    "Softmax",
    becomes=("Softmax", "Reshape"),
    covers="axis, with the meaning it has before opset 13 and since",
    limits="an axis with more than one element behind it",
)
def softmax(node: OnnxNode, scope: Scope) -> None:
    """Softmax over the last dimension that is not 1, through views where it is not the last one.

    Before opset 13 it works on all dimensions from `axis` on together.
    """
    x = scope.activation(node, 0)
    rank = len(x.shape)
    together = node.opset < 13
    axis = node.integer("axis", 1 if together else -1)
    if not -rank <= axis < rank:
        raise Unsupported(f"axis is {axis} for {x.shape}", "an axis of its input")
    axis %= rank
    if not together and prod(x.shape[axis + 1 :]) != 1:
        raise Unsupported(f"axis is {axis} for {x.shape}", "the last axis")
    rows = (prod(x.shape[:axis]), prod(x.shape[axis:]))
    if axis == rank - 1:
        scope.emit("Softmax", node.name, (x.name,), node.outputs[0], {"axis": rank - 1})
        return
    flat = scope.view(node, x.name, rows)
    y = scope.emit("Softmax", node.name, (flat,), scope.fresh(f"{flat}.softmax"), {"axis": 1})
    scope.view(node, y, x.shape, node.outputs[0])


def _rows(graph: Graph, name: str) -> tuple[int, int]:
    tensor = graph.tensor(name)
    return tensor.size // tensor.shape[-1], tensor.shape[-1]


def _call(node: Node, graph: Graph) -> Call:
    x, y = node.inputs[0], node.outputs[0]
    return Call("softmax_f32", (*_rows(graph, x), Ref(x), Ref(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,), (y,) = node.inputs, node.outputs
    backward.add(x, backward.emit("SoftmaxGradient", node, (gy, y), like=x))


def _gradient_call(node: Node, graph: Graph) -> Call:
    gy, y = node.inputs
    return Call("softmax_gradient_f32", (*_rows(graph, y), Ref(gy), Ref(y), Ref(node.outputs[0])))


_KERNEL = "softmax_f32.h"
register(Operator("Softmax", _call, _KERNEL, same_shape, no_macs, _gradient, in_place=(0,)))
register(Operator("SoftmaxGradient", _gradient_call, _KERNEL, in_place=(0,)))
