"""What tinyodl has to know of an operator, and the table of all of them.

One module of this package per operator family. Each gives, for forward and gradient operators
alike: the shape rule, the cost, the kernel it calls, and (forward only) the gradient rule: a few
lines that append nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tinyodl.graph import Graph, Node

ShapeTuple = tuple[int, ...]


@dataclass(frozen=True)
class Ref:
    """A tensor as an argument of a kernel: a pointer to its first element, NULL for ""."""

    tensor: str


@dataclass(frozen=True)
class Learner:
    """A parameter as an argument of a gradient kernel: where its gradient goes."""

    parameter: str


@dataclass(frozen=True)
class Struct:
    """A C struct of compile-time constants as an argument: a pointer to it."""

    type: str
    fields: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Symbol:
    """A variable of the generated network: `label` or `pending`."""

    name: str


Argument = Ref | Learner | Struct | Symbol | int | float


@dataclass(frozen=True)
class Call:
    """One call of generated C: a kernel and what it is called with."""

    function: str
    arguments: tuple[Argument, ...]


class Backward(Protocol):
    """What a gradient rule may do; `tinyodl.training` implements it."""

    @property
    def graph(self) -> Graph:
        """The forward graph."""
        ...

    def wants(self, tensor: str) -> bool:
        """Whether anything that learns depends on the gradient of this tensor."""
        ...

    def emit(self, op: str, node: Node, inputs: tuple[str, ...], like: str) -> str:
        """Append a gradient node with `node`'s attributes; its output has `like`'s shape."""
        ...

    def add(self, tensor: str, gradient: str) -> None:
        """One contribution to the gradient of `tensor`; several are added."""
        ...

    def learn(self, op: str, node: Node, parameter: str, inputs: tuple[str, ...]) -> None:
        """Append a node that computes the gradient of `parameter` and hands it on."""
        ...


GradientRule = Callable[[Backward, Node, str], None]


def no_macs(node: Node, graph: Graph) -> int:
    """The cost rule of operators that multiply nothing."""
    return 0


@dataclass(frozen=True)
class Operator:
    """One operator of the IR.

    call      the kernel call; None for a view, which costs nothing.
    kernel    the file in `templates/kernels/`.
    shape     output shape from the node and the shapes of its inputs (absent ones are `()`); None
              for gradient and update nodes, whose shapes are those of what they belong to.
    macs      multiply-accumulates, given the node and its graph.
    gradient  appends the nodes for the gradient with respect to the inputs, given the name of the
              gradient of the output; None where there is no gradient.
    in_place  inputs whose memory the output may take over when they are not needed any more.
    layer     has parameters that an update plan can name: (weight slot, bias slot).
    """

    name: str
    call: Callable[[Node, Graph], Call] | None
    kernel: str | None
    shape: Callable[[Node, tuple[ShapeTuple, ...]], ShapeTuple] | None = None
    macs: Callable[[Node, Graph], int] = no_macs
    gradient: GradientRule | None = None
    in_place: tuple[int, ...] = ()
    layer: tuple[int, int] | None = None


OPERATORS: dict[str, Operator] = {}


def register(operator: Operator) -> Operator:
    """Put an operator into the table; its name must be new."""
    if operator.name in OPERATORS:
        raise ValueError(f"operator {operator.name} is registered twice")
    OPERATORS[operator.name] = operator
    return operator


def same_shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    """The shape rule of elementwise operators: that of the first input."""
    return shapes[0]


def output_shape(node: Node, graph: Graph) -> ShapeTuple:
    """The shape that the operator's own rule gives for a forward `node`."""
    rule = OPERATORS[node.op].shape
    if rule is None:
        raise ValueError(f"{node.op} is no forward operator")
    return rule(node, tuple(graph.shape(name) if name else () for name in node.inputs))
