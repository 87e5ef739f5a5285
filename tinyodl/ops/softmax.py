"""Softmax and LogSoftmax along one axis.

    Softmax:     y[i] = exp(x[i] - max x) / sum over j of exp(x[j] - max x)
                 gx[i] = y[i] * (gy[i] - sum over j of gy[j] * y[j])
    LogSoftmax:  y[i] = x[i] - max x - log sum over j of exp(x[j] - max x)
                 gx[i] = gy[i] - exp(y[i]) * sum over j of gy[j]

Attributes: axis.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    imports,
    no_macs,
    register,
    same_shape,
)

_COVERS = "axis, with the meaning it has before opset 13 and since"


@imports("Softmax", becomes=("Softmax", "Reshape"), covers=_COVERS)
@imports("LogSoftmax", becomes=("LogSoftmax", "Reshape"), covers=_COVERS)
def softmax(node: OnnxNode, scope: Scope) -> None:
    """Softmax and LogSoftmax along one axis; before opset 13 along all from `axis` on together.

    Where nothing but ones follows, a view makes the axis the last one of two.
    """
    x = scope.activation(node, 0)
    rank = len(x.shape)
    together = node.opset < 13
    axis = node.axis(1 if together else -1, rank)
    if axis == rank - 1 or not (together or prod(x.shape[axis + 1 :]) == 1):
        scope.emit(node.op, node.name, (x.name,), node.outputs[0], {"axis": axis})
        return
    flat = scope.view(node, x.name, (prod(x.shape[:axis]), prod(x.shape[axis:])))
    y = scope.emit(node.op, node.name, (flat,), scope.fresh(f"{flat}.{node.op}"), {"axis": 1})
    scope.view(node, y, x.shape, node.outputs[0])


def _call(function: str) -> Callable[[Node, Graph], Call]:
    """The call of a forward (x, y) or gradient (gy, y, gx) kernel."""

    def call(node: Node, graph: Graph) -> Call:
        shape, axis = graph.shape(node.outputs[0]), node.attrs["axis"]
        sizes = (prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
        return Call(function, (*sizes, *map(Ref, node.inputs), Ref(node.outputs[0])))

    return call


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,), (y,) = node.inputs, node.outputs
    backward.add(x, backward.emit(f"{node.op}Gradient", node, (gy, y), like=x))


for _op, _stem in (("Softmax", "softmax"), ("LogSoftmax", "log_softmax")):
    _kernel = "softmax_f32.h"
    _forward, _backward = _call(f"{_stem}_f32"), _call(f"{_stem}_gradient_f32")
    register(Operator(_op, _forward, _kernel, same_shape, no_macs, _gradient, in_place=(0,)))
    register(Operator(f"{_op}Gradient", _backward, _kernel, in_place=(0, 1)))
