"""Softmax over the last axis.

y[i] = exp(x[i] - max x) / sum over j of exp(x[j] - max x)
gx[i] = y[i] * (gy[i] - sum over j of gy[j] * y[j])
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.operator import (
    Backward,
    Call,
    Operator,
    Ref,
    no_macs,
    register,
    same_shape,
)


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
