"""Add, Sub, Mul, Div, Max and Min of two tensors with broadcasting; Sum as a chain of additions.

    Add: y = a + b         ga = gy        gb = gy
    Sub: y = a - b         ga = gy        gb = -gy
    Mul: y = a * b         ga = gy * b    gb = gy * a
    Div: y = a / b         ga = gy / b    gb = -gy * y / b
    Max: y = max(a, b)     ga = gy where a > b, gy / 2 where they are equal, else 0; Min likewise

A gradient is added up over the elements of y that read the same element of the operand. Add is also
how gradients that meet are added. Either operand may be a constant; in Add and Mul it comes second.
What Add adds to each channel of a layer goes into its bias. Factors do not go into its weights,
because a layer learns differently with scaled weights.
Attributes of gradients: sign (1 or -1), where the formula of an operand needs it.
"""

from __future__ import annotations

from collections.abc import Callable

from tinyodl.graph import Graph, Node, Tensor
from tinyodl.ops.shared import (
    Affine,
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

_KERNEL = "arithmetic_f32.h"
_EITHER = "operands of any shapes that can be broadcast, computed or constant"


@imports("Add", becomes=("Add",), covers=_EITHER)
@imports("Mul", becomes=("Mul",), covers=_EITHER)
def add_or_multiply(node: OnnxNode, scope: Scope) -> None:
    """Add and Mul."""
    a, b = _constants_last(node, scope)
    scope.emit(node.op, node.name, (a.name, b.name), node.outputs[0])


@imports("Sub", becomes=("Sub",), covers=_EITHER)
@imports("Div", becomes=("Div",), covers=_EITHER)
def subtract_or_divide(node: OnnxNode, scope: Scope) -> None:
    """Sub and Div."""
    a, b = scope.operand(node, 0), scope.operand(node, 1)
    scope.emit(node.op, node.name, (a.name, b.name), node.outputs[0])


@imports("Sum", becomes=("Add", "Identity"), covers=f"any number of {_EITHER}")
@imports("Max", becomes=("Max", "Identity"), covers=f"any number of {_EITHER}")
@imports("Min", becomes=("Min", "Identity"), covers=f"any number of {_EITHER}")
def chain(node: OnnxNode, scope: Scope) -> None:
    """Sum, Max and Min: pair by pair."""
    first, *rest = _constants_last(node, scope)
    op = "Add" if node.op == "Sum" else node.op
    if not rest:
        scope.emit("Identity", node.name, (first.name,), node.outputs[0])
        return
    made = first.name
    for operand in rest[:-1]:
        name = scope.fresh_node(f"{node.name}.part")
        made = scope.emit(op, name, (made, operand.name), scope.fresh(f"{node.outputs[0]}.part"))
    scope.emit(op, node.name, (made, rest[-1].name), node.outputs[0])


def _constants_last(node: OnnxNode, scope: Scope) -> list[Tensor]:
    """The operands of a commutative operator, the first one computed."""
    slots = sorted(range(len(node.inputs)), key=lambda slot: node.input(slot) in scope.constants)
    return [scope.activation(node, slots[0]), *(scope.operand(node, slot) for slot in slots[1:])]


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    a, b = shapes
    return broadcast_shape(a, b)


def _fold(node: Node, graph: Graph) -> Affine | None:
    """Adding a constant that does not change the shape."""
    x, c = (graph.tensor(name) for name in node.inputs)
    if c.data is None or x.shape != graph.shape(node.outputs[0]):
        return None
    padded = (1,) * (len(x.shape) - len(c.shape)) + c.shape
    return Affine(None, c.data.reshape(padded), c.origin)


def _forward(function: str) -> Callable[[Node, Graph], Call]:
    def call(node: Node, graph: Graph) -> Call:
        a, b = node.inputs
        (y,) = node.outputs
        walk = broadcast_struct(graph.shape(a), graph.shape(b), graph.shape(y))
        return Call(function, (walk, Ref(a), Ref(b), Ref(y)))

    return call


def _add_call(node: Node, graph: Graph) -> Call:
    a, b = node.inputs
    (y,) = node.outputs
    if graph.tensor(a).size == graph.tensor(b).size == graph.tensor(y).size:
        return Call("add_f32", (graph.tensor(y).size, Ref(a), Ref(b), Ref(y)))
    return _forward("add_broadcast_f32")(node, graph)


def _as_output(backward: Backward, node: Node, operand: str) -> bool:
    """Whether an operand has the shape of the output: then its gradient needs no sum."""
    return backward.graph.shape(operand) == backward.graph.shape(node.outputs[0])


def _add_gradient(backward: Backward, node: Node, gy: str) -> None:
    for operand in node.inputs:
        _pass_on(backward, node, operand, gy, 1.0)


def _subtract_gradient(backward: Backward, node: Node, gy: str) -> None:
    a, b = node.inputs
    _pass_on(backward, node, a, gy, 1.0)
    _pass_on(backward, node, b, gy, -1.0)


def _pass_on(backward: Backward, node: Node, operand: str, gy: str, sign: float) -> None:
    if not backward.wants(operand):
        return
    if not _as_output(backward, node, operand):
        gy = backward.emit("AddGradient", node, (gy,), like=operand, attrs={"sign": sign})
    elif sign < 0:
        gy = backward.emit("Neg", node, (gy,), like=operand)
    backward.add(operand, gy)


def _multiply_gradient(backward: Backward, node: Node, gy: str) -> None:
    a, b = node.inputs
    for own, other in ((a, b), (b, a)):
        if backward.wants(own):
            op = "Mul" if _as_output(backward, node, own) else "MulGradient"
            backward.add(own, backward.emit(op, node, (gy, other), like=own))


def _divide_gradient(backward: Backward, node: Node, gy: str) -> None:
    a, b = node.inputs
    if backward.wants(a):
        op = "Div" if _as_output(backward, node, a) else "DividendGradient"
        backward.add(a, backward.emit(op, node, (gy, b), like=a))
    if backward.wants(b):
        gradient = backward.emit("DivisorGradient", node, (gy, node.outputs[0], b), like=b)
        backward.add(b, gradient)


def _extremum_gradient(backward: Backward, node: Node, gy: str) -> None:
    a, b = node.inputs
    attrs = {"sign": 1.0 if node.op == "Max" else -1.0}
    for own, other in ((a, b), (b, a)):
        if backward.wants(own):
            inputs = (gy, own, other)
            backward.add(own, backward.emit("ExtremumGradient", node, inputs, own, attrs))


def _gradient(function: str) -> Callable[[Node, Graph], Call]:
    """A gradient summed over gy. gy has the shape of the output.

    Inputs: gy, then the operands of the formula; if it reads the other operand, this comes last.
    """

    def call(node: Node, graph: Graph) -> Call:
        gy, *read = node.inputs
        (own,) = node.outputs
        other = graph.shape(read[-1]) if read else ()
        walk = broadcast_struct(graph.shape(own), other, graph.shape(gy))
        sign = (float(node.attrs["sign"]),) if "sign" in node.attrs else ()
        numbers = (walk, graph.tensor(own).size, *sign)
        return Call(function, (*numbers, Ref(gy), *map(Ref, read), Ref(own)))

    return call


_either = (0, 1)  # inputs whose memory the output may take over
register(Operator("Add", _add_call, _KERNEL, _shape, no_macs, _add_gradient, _either, fold=_fold))
for _op, _function, _rule in (
    ("Sub", "subtract_f32", _subtract_gradient),
    ("Mul", "multiply_f32", _multiply_gradient),
    ("Div", "divide_f32", _divide_gradient),
    ("Max", "maximum_of_f32", _extremum_gradient),
    ("Min", "minimum_of_f32", _extremum_gradient),
):
    register(Operator(_op, _forward(_function), _KERNEL, _shape, no_macs, _rule, _either))
for _op, _function in (
    ("AddGradient", "add_gradient_f32"),
    ("MulGradient", "multiply_gradient_f32"),
    ("DividendGradient", "dividend_gradient_f32"),
    ("DivisorGradient", "divisor_gradient_f32"),
    ("ExtremumGradient", "extremum_gradient_f32"),
):
    register(Operator(_op, _gradient(_function), _KERNEL))
