"""Exp, Log, Sqrt, Reciprocal, Abs and Neg.

    Exp:         y = e^x            gx = gy * y
    Log:         y = log x          gx = gy / x
    Sqrt:        y = sqrt x         gx = gy / (2 * y)
    Reciprocal:  y = 1 / x          gx = -gy * y^2
    Abs:         y = |x|            gx = gy * sign(x), 0 at 0
    Neg:         y = -x             gx = -gy

Exp stays finite: above 88.7 it is the largest float.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Backward, Call, Operator, Ref, no_macs, register, same_shape
from tinyodl.ops.shared.elementwise import import_as_is, register_elementwise

_KERNEL = "functions_f32.h"

import_as_is("Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg")


def _negate_call(node: Node, graph: Graph) -> Call:
    (x,), (y,) = node.inputs, node.outputs
    return Call("negate_f32", (graph.tensor(x).size, Ref(x), Ref(y)))


def _negate_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("Neg", node, (gy,), like=x))


register_elementwise("Exp", _KERNEL, "exp_all_f32", "exp_gradient_f32", reads_output=True)
register_elementwise("Log", _KERNEL, "log_all_f32", "log_gradient_f32")
register_elementwise("Sqrt", _KERNEL, "sqrt_f32", "sqrt_gradient_f32", reads_output=True)
register_elementwise(
    "Reciprocal", _KERNEL, "reciprocal_f32", "reciprocal_gradient_f32", reads_output=True
)
register_elementwise("Abs", _KERNEL, "abs_f32", "abs_gradient_f32")
register(Operator("Neg", _negate_call, _KERNEL, same_shape, no_macs, _negate_gradient, (0,)))
