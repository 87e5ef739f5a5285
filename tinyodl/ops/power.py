"""Pow: by one constant exponent (Power), or element by element with broadcasting (Pow).

    Power:  y = x^exponent     gx = gy * exponent * x^(exponent - 1)
    Pow:    y = a^b            ga = gy * b * a^(b - 1)    gb = gy * y * log a

The whole part of an exponent is multiplied out and a half is a square root; exp and log do what is
left, and then a negative base gives NaN. The error grows with the exponent: about |exponent| units
of the last place.
Attributes of Power: exponent.
"""

from __future__ import annotations

import numpy as np

from tinyodl.graph import Array, Graph, Node
from tinyodl.ops.shared import (
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
    register,
    same_shape,
)
from tinyodl.ops.shared.broadcast import broadcast_shape, broadcast_struct

_KERNEL = "power_f32.h"
_MAX_EXPONENT = 128.0
_SPECIAL = {-1.0: "Reciprocal", 0.5: "Sqrt", 1.0: "Identity"}


@imports(
    "Pow",
    becomes=("Power", "Pow", "Reciprocal", "Sqrt", "Identity"),
    covers="constant exponents of any number type, computed ones, broadcasting",
    limits="one constant exponent above 128 or below -128",
)
def power(node: OnnxNode, scope: Scope) -> None:
    """Pow."""
    if node.input(1) in scope.constants:
        given = _exponents(scope.constant(node, 1))
        if given.size == 1 and node.input(0) not in scope.constants:
            _by_one(node, scope, given)
            return
        exponent = scope.parameter(node, 1, given)
    else:
        exponent = scope.activation(node, 1).name
    scope.emit("Pow", node.name, (scope.operand(node, 0).name, exponent), node.outputs[0])


def _by_one(node: OnnxNode, scope: Scope, given: Array) -> None:
    """Pow by one constant exponent."""
    x = scope.activation(node, 0).name
    exponent = float(given.reshape(()))
    if not abs(exponent) <= _MAX_EXPONENT:
        raise Unsupported(f"its exponent is {exponent}", f"-{_MAX_EXPONENT} to {_MAX_EXPONENT}")
    shape = broadcast_shape(scope.tensors[x].shape, given.shape)
    op = _SPECIAL.get(exponent, "Power")
    attrs = {"exponent": exponent} if op == "Power" else {}
    scope.emit(op, node.name, (scope.view(node, x, shape),), node.outputs[0], attrs)


def _exponents(given: Array) -> Array:
    if given.dtype.kind not in "fiu":
        raise Unsupported(f"its exponent is {given.dtype}", "numbers")
    return given.astype(np.float32)


def _parts(exponent: float) -> tuple[int, float]:
    """The number of halves in an exponent, and the remainder, with the same sign."""
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


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    a, b = shapes
    return broadcast_shape(a, b)


def _call(node: Node, graph: Graph) -> Call:
    a, b = node.inputs
    (y,) = node.outputs
    walk = broadcast_struct(graph.shape(a), graph.shape(b), graph.shape(y))
    return Call("power_broadcast_f32", (walk, Ref(a), Ref(b), Ref(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    a, b = node.inputs
    (y,) = node.outputs
    if backward.wants(a):
        backward.add(a, backward.emit("PowBaseGradient", node, (gy, a, b), like=a))
    if backward.wants(b):
        backward.add(b, backward.emit("PowExponentGradient", node, (gy, y, a), like=b))


def _gradient_call(node: Node, graph: Graph) -> Call:
    """The kernel call for the gradient of the base (gy, a, b) or the exponent (gy, y, a)."""
    (own,) = node.outputs
    gy, _, other = node.inputs
    of_base = node.op == "PowBaseGradient"
    function = "power_base_gradient_f32" if of_base else "power_exponent_gradient_f32"
    walk = broadcast_struct(graph.shape(own), graph.shape(other), graph.shape(gy))
    return Call(function, (walk, graph.tensor(own).size, *map(Ref, node.inputs), Ref(own)))


register(Operator("Power", _power_call, _KERNEL, same_shape, no_macs, _power_gradient, (0,)))
register(Operator("PowerGradient", _power_gradient_call, _KERNEL, in_place=(0, 1)))
register(Operator("Pow", _call, _KERNEL, _shape, no_macs, _gradient, in_place=(0, 1)))
register(Operator("PowBaseGradient", _gradient_call, _KERNEL))
register(Operator("PowExponentGradient", _gradient_call, _KERNEL))
