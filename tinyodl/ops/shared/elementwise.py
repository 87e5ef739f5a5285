"""Operators with one input that treat each element by itself, in place."""

from __future__ import annotations

from collections.abc import Callable

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared.calls import Call, Ref
from tinyodl.ops.shared.importer import OnnxNode, imports
from tinyodl.ops.shared.operator import (
    Backward,
    Operator,
    no_macs,
    register,
    same_shape,
)
from tinyodl.ops.shared.scope import Scope


def import_as_is(*names: str) -> None:
    """Import ONNX operators without attributes as the IR operators of the same names."""

    def one(node: OnnxNode, scope: Scope) -> None:
        scope.emit(node.op, node.name, (scope.activation(node, 0).name,), node.outputs[0])

    for name in names:
        imports(name, becomes=(name,), covers="everything")(one)


def register_elementwise(
    name: str,
    kernel: str,
    forward: str,
    backward: str,
    constants: tuple[str, ...] = (),
    gradient_constants: tuple[str, ...] | None = None,
    reads_output: bool | Callable[[Node], bool] = False,
) -> None:
    """Put an operator and its gradient into the table.

    `forward` is called as (n, constants..., x, y), `backward` as (n, constants..., gy, x or y, gx);
    the constants are attributes of the node. Where `reads_output` holds, the gradient reads y, and
    the forward pass may then overwrite x.
    """
    of_gradient = constants if gradient_constants is None else gradient_constants

    def call(node: Node, graph: Graph) -> Call:
        (x,), (y,) = node.inputs, node.outputs
        given = tuple(float(node.attrs[constant]) for constant in constants)
        return Call(forward, (graph.tensor(x).size, *given, Ref(x), Ref(y)))

    def gradient(walk: Backward, node: Node, gy: str) -> None:
        (x,), (y,) = node.inputs, node.outputs
        output = reads_output(node) if callable(reads_output) else reads_output
        walk.add(x, walk.emit(f"{name}Gradient", node, (gy, y if output else x), like=x))

    def gradient_call(node: Node, graph: Graph) -> Call:
        gy, saved = node.inputs
        given = tuple(float(node.attrs[constant]) for constant in of_gradient)
        operands = (Ref(gy), Ref(saved), Ref(node.outputs[0]))
        return Call(backward, (graph.tensor(saved).size, *given, *operands))

    register(Operator(name, call, kernel, same_shape, no_macs, gradient, in_place=(0,)))
    register(Operator(f"{name}Gradient", gradient_call, kernel, in_place=(0, 1)))
