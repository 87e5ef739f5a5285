"""Comparisons, logic on their results, and Where: a choice between two values, element by element.

    Greater, GreaterOrEqual, Equal:  y = 1 where it is true, else 0; no gradient
    Select:  y = x where c is not 0, else z        gx = gy where c is not 0, else 0; gz likewise

Truth values are float32 tensors of 0 and 1. So And is a product, Or a maximum, and a cast from bool
to float32 is nothing. Less is Greater with its operands exchanged. Inputs of Select: c, x and z; x
and z have the shape of c, or are constants of one element. Attributes of its gradient: of (1 for x,
0 for z).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinyodl.graph import Array, Graph, Node, Storage, Tensor
from tinyodl.ops.arithmetic import add_or_multiply, chain
from tinyodl.ops.expand import expanded
from tinyodl.ops.shared import (
    Backward,
    Call,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    ShapeTuple,
    imports,
    no_macs,
    register,
)
from tinyodl.ops.shared.broadcast import broadcast_shape, broadcast_struct

_KERNEL = "select_f32.h"
_OPERANDS = "float32 operands of any shapes that can be broadcast, computed or constant"
_ZERO = np.zeros((), np.float32)


@imports("Greater", becomes=("Greater",), covers=_OPERANDS)
@imports("GreaterOrEqual", becomes=("GreaterOrEqual",), covers=_OPERANDS)
@imports("Equal", becomes=("Equal",), covers=_OPERANDS)
def compare(node: OnnxNode, scope: Scope) -> None:
    """Greater, GreaterOrEqual and Equal."""
    a, b = scope.operand(node, 0), scope.operand(node, 1)
    scope.emit(node.op, node.name, (a.name, b.name), node.outputs[0])


@imports("Less", becomes=("Greater",), covers=_OPERANDS)
@imports("LessOrEqual", becomes=("GreaterOrEqual",), covers=_OPERANDS)
def compare_exchanged(node: OnnxNode, scope: Scope) -> None:
    """Less and LessOrEqual."""
    a, b = scope.operand(node, 0), scope.operand(node, 1)
    op = node.op.replace("Less", "Greater")
    scope.emit(op, node.name, (b.name, a.name), node.outputs[0])


@imports("And", becomes=("Mul",), covers="computed operands")
def both(node: OnnxNode, scope: Scope) -> None:
    """And."""
    add_or_multiply(_as(node, "Mul"), scope)


@imports("Or", becomes=("Max",), covers="computed operands")
def either(node: OnnxNode, scope: Scope) -> None:
    """Or."""
    chain(_as(node, "Max"), scope)


@imports("Not", becomes=("Equal",), covers="everything")
def not_(node: OnnxNode, scope: Scope) -> None:
    """Not: whether it is 0."""
    zero = _held(scope, node, _ZERO)
    scope.emit("Equal", node.name, (scope.activation(node, 0).name, zero), node.outputs[0])


@imports("Sign", becomes=("Sub", "Greater"), covers="everything")
def sign(node: OnnxNode, scope: Scope) -> None:
    """Sign: whether it is above 0, less whether it is below."""
    x, zero = scope.activation(node, 0).name, _held(scope, node, _ZERO)
    sides = [
        scope.emit(
            "Greater",
            scope.fresh_node(f"{node.name}.{side}"),
            operands,
            scope.fresh(f"{node.outputs[0]}.{side}"),
        )
        for side, operands in (("above", (x, zero)), ("below", (zero, x)))
    ]
    scope.emit("Sub", node.name, sides, node.outputs[0])


@imports(
    "Where",
    becomes=("Select", "Expand", "Identity"),
    covers="conditions that are computed or constant, float32 operands, broadcasting",
)
def where(node: OnnxNode, scope: Scope) -> None:
    """Where; a constant condition that is the same everywhere leaves one operand."""
    condition = scope.constants.get(node.input(0))
    if condition is None:
        c = scope.activation(node, 0).name
    x, z = scope.operand(node, 1), scope.operand(node, 2)
    shape_of_c = scope.tensors[c].shape if condition is None else condition.shape
    shape = broadcast_shape(broadcast_shape(shape_of_c, x.shape), z.shape)
    if condition is not None:
        if condition.all() or not condition.any():
            taken = x if condition.all() else z
            _whole(node, scope, taken.name, shape, node.outputs[0])
            return
        c = _held(scope, node, np.broadcast_to(condition, shape).astype(np.float32))
    made = [_whole(node, scope, c, shape)]
    for operand in (x, z):
        single = operand.data is not None and operand.size == 1
        made.append(operand.name if single else _whole(node, scope, operand.name, shape))
    scope.emit("Select", node.name, made, node.outputs[0])


def _as(node: OnnxNode, op: str) -> OnnxNode:
    return OnnxNode(node.name, op, node.inputs, node.outputs, {}, node.opset, node.slots)


def _whole(node: OnnxNode, scope: Scope, name: str, shape: ShapeTuple, output: str = "") -> str:
    """A tensor repeated along the axes of `shape`; itself if it has this shape and no new name."""
    if scope.tensors[name].shape == shape and not output:
        return name
    own = node.name if output else scope.fresh_node(f"{node.name}.expand")
    return expanded(node, scope, name, shape, own, output or scope.fresh(f"{name}.whole"))


def _held(scope: Scope, node: OnnxNode, value: Array) -> str:
    """A constant that is not in the file."""
    name = scope.fresh(f"{node.name}.constant")
    data = np.ascontiguousarray(value, np.float32)
    return scope.add(Tensor(name, data.shape, Storage.FLASH, data=data))


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    a, b = shapes
    return broadcast_shape(a, b)


def _compare_call(function: str) -> Callable[[Node, Graph], Call]:
    def call(node: Node, graph: Graph) -> Call:
        a, b = node.inputs
        (y,) = node.outputs
        walk = broadcast_struct(graph.shape(a), graph.shape(b), graph.shape(y))
        return Call(function, (walk, Ref(a), Ref(b), Ref(y)))

    return call


def _no_gradient(backward: Backward, node: Node, gy: str) -> None:
    """It is constant wherever it has a derivative."""


def _select_call(node: Node, graph: Graph) -> Call:
    c, x, z = node.inputs
    (y,) = node.outputs
    steps = [int(graph.tensor(name).size > 1 or graph.tensor(y).size == 1) for name in (x, z)]
    operands = (Ref(c), steps[0], Ref(x), steps[1], Ref(z), Ref(y))
    return Call("select_f32", (graph.tensor(y).size, *operands))


def _select_gradient(backward: Backward, node: Node, gy: str) -> None:
    c, x, z = node.inputs
    for operand, of in ((x, 1), (z, 0)):
        if backward.wants(operand):
            made = backward.emit("SelectGradient", node, (c, gy), operand, {"of": of})
            backward.add(operand, made)


def _select_gradient_call(node: Node, graph: Graph) -> Call:
    c, gy = node.inputs
    n, of = graph.tensor(gy).size, int(node.attrs["of"])
    return Call("select_gradient_f32", (n, of, Ref(c), Ref(gy), Ref(node.outputs[0])))


for _op, _function in (
    ("Greater", "greater_f32"),
    ("GreaterOrEqual", "greater_or_equal_f32"),
    ("Equal", "equal_f32"),
):
    register(
        Operator(_op, _compare_call(_function), _KERNEL, _shape, no_macs, _no_gradient, (0, 1))
    )
register(
    Operator(
        "Select",
        _select_call,
        _KERNEL,
        lambda node, shapes: shapes[0],
        no_macs,
        _select_gradient,
        in_place=(0, 1, 2),
    )
)
register(Operator("SelectGradient", _select_gradient_call, _KERNEL, in_place=(0, 1)))
