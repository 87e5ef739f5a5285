"""Exp, Log, Sqrt, Reciprocal, Abs, Neg, and Pow by one constant.

    Exp:         y = e^x            gx = gy * y
    Log:         y = log x          gx = gy / x
    Sqrt:        y = sqrt x         gx = gy / (2 * y)
    Reciprocal:  y = 1 / x          gx = -gy * y^2
    Abs:         y = |x|            gx = gy * sign(x), 0 at 0
    Neg:         y = -x             gx = -gy
    Power:       y = x^exponent     gx = gy * exponent * x^(exponent - 1)

Exp stays finite: above 88.7 it is the largest float. The whole part of an exponent is multiplied
out and a half is a square root; exp and log do what is left, and then a negative x gives NaN. The
error grows with the exponent: about |exponent| units of the last place.
Attributes of Power: exponent.
"""

from __future__ import annotations

import numpy as np

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
from tinyodl.ops.shared.elementwise import import_as_is, register_elementwise

_KERNEL = "functions_f32.h"
_MAX_EXPONENT = 128.0
_SPECIAL = {-1.0: "Reciprocal", 0.5: "Sqrt", 1.0: "Identity"}

import_as_is("Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg")


@imports(
    "Pow",
    becomes=("Power", "Reciprocal", "Sqrt", "Identity"),
    covers="one constant exponent of any number type",
    limits="exponents that are computed, or differ by element, or are above 128 or below -128",
)
def power(node: OnnxNode, scope: Scope) -> None:
    """Pow by one constant."""
    x = scope.activation(node, 0)
    given = scope.constant(node, 1)
    if given.size != 1 or given.ndim > len(x.shape):
        raise Unsupported(f"its exponent has the shape {given.shape}", "one number")
    if given.dtype.kind not in "fiu":
        raise Unsupported(f"its exponent is {given.dtype}", "a number")
    exponent = float(given.reshape(()))
    if not abs(exponent) <= _MAX_EXPONENT:
        raise Unsupported(f"its exponent is {exponent}", f"-{_MAX_EXPONENT} to {_MAX_EXPONENT}")
    op = _SPECIAL.get(exponent, "Power")
    attrs = {"exponent": exponent} if op == "Power" else {}
    scope.emit(op, node.name, (x.name,), node.outputs[0], attrs)


def _parts(exponent: float) -> tuple[int, float]:
    """The number of halves in an exponent, and what is left of it, with the same sign."""
    halves = int(2.0 * exponent)
    return halves, float(np.float32(exponent - halves / 2.0))


def _power_call(node: Node, graph: Graph) -> Call:
    (x,), (y,) = node.inputs, node.outputs
    parts = _parts(node.attrs["exponent"])
    return Call("power_all_f32", (graph.tensor(x).size, *parts, Ref(x), Ref(y)))


def _power_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("PowerGradient", node, (gy, x), like=x))


def _power_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x = node.inputs
    exponent = float(node.attrs["exponent"])
    parts = _parts(exponent - 1.0 if exponent else 0.0)  # x^0 is 1 also at 0, where 1 / x is not
    numbers = (graph.tensor(x).size, exponent, *parts)
    return Call("power_gradient_f32", (*numbers, Ref(gy), Ref(x), Ref(node.outputs[0])))


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
register(Operator("Power", _power_call, _KERNEL, same_shape, no_macs, _power_gradient, (0,)))
register(Operator("PowerGradient", _power_gradient_call, _KERNEL, in_place=(0, 1)))
