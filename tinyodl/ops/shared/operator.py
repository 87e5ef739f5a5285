"""The record of an operator of the IR, and the table of all operators.

Forward and gradient operators alike have a shape rule, a cost and a kernel to call; a forward
operator also has a gradient rule: a few lines that append nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tinyodl.graph import Array, Graph, Node, Origin, Tensor
from tinyodl.ops.shared.calls import Argument, Call, Loop
from tinyodl.ops.shared.importer import Unsupported
from tinyodl.project.layer_update import LayerUpdate
from tinyodl.project.plan import UpdatePlan

ShapeTuple = tuple[int, ...]


class Backward(Protocol):
    """The interface for a gradient rule; `tinyodl.learning.training` implements it."""

    @property
    def graph(self) -> Graph:
        """The forward graph."""
        ...

    def wants(self, tensor: str) -> bool:
        """Whether anything that learns depends on the gradient of this tensor ("" never)."""
        ...

    def emit(
        self,
        op: str,
        node: Node,
        inputs: tuple[str, ...],
        like: str | ShapeTuple,
        attrs: Mapping[str, Any] | None = None,
    ) -> str:
        """Append a gradient node with `node`'s attributes, or `attrs`; returns its output.

        The output has the shape of the tensor `like`, whose gradient it is, or the given shape.
        """
        ...

    def emit_several(
        self,
        op: str,
        node: Node,
        inputs: tuple[str, ...],
        likes: tuple[str | ShapeTuple, ...],
        attrs: Mapping[str, Any] | None = None,
    ) -> tuple[str, ...]:
        """`emit` for a node with one output for each of `likes`."""
        ...

    def add(self, tensor: str, gradient: str) -> None:
        """One contribution to the gradient of `tensor`; several are added.

        `tensor` may be a parameter: then its learner takes the sum.
        """
        ...

    def learn(
        self,
        op: str,
        node: Node,
        parameter: str,
        inputs: tuple[str, ...],
        attrs: Mapping[str, Any] | None = None,
        *,
        in_parts: bool = False,
    ) -> None:
        """Append a node that computes the gradient of `parameter` and hands it to the learner.

        The node's inputs are `inputs`, then the parameter, then its optimiser state. With
        `in_parts` the kernel hands an element on in several parts, and the learner sums them.
        """
        ...


# (backward, node, the gradient of each output: None where nothing that is trained depends on it).
# It is called when at least one is there, so a rule of one output takes (backward, node, gy).
GradientRule = Callable[..., None]


def no_macs(node: Node, graph: Graph) -> int:
    """The cost rule of operators that multiply nothing."""
    return 0


@dataclass(frozen=True)
class Layer:
    """The input slots that hold parameters, if the inputs are constants.

    "weights" in a plan trains all of them, "bias" only `biases`. If `channel_axis` is given, axis 0
    of the first weight and of the first bias are the channels on this axis of the output, and
    y = factor * y + offset for each channel may be folded into them.
    """

    weights: tuple[int, ...]
    biases: tuple[int, ...] = ()
    channel_axis: int | None = None


@dataclass(frozen=True)
class Affine:
    """A node with constant operands as a map of its first input.

    y = factor * x + offset; both broadcast to x and have as many dimensions. `factor` None stands
    for 1. `origin` is the offset's, if the offset alone can be the bias of a layer.
    """

    factor: Array | None
    offset: Array
    origin: Origin | None = None


# Parts of a step, which features add: `look` at every sample, `decide` whether its label is wanted,
# `note` the label, `count` predictions; `remember` features, and `recall` or `retest` them;
# `first`, whether a sample makes a prototype.
Part = Literal["look", "decide", "note", "count", "remember", "recall", "retest", "first"]

Rewrite = tuple[Node, Sequence[Tensor]]  # a node in place of another, and tensors to add


@dataclass(frozen=True)
class ByRows:
    """How an operator makes some rows of its output from some rows of its inputs.

    needs  (node, graph, n) -> how many rows of its computed inputs, from the top, the output rows
           0 to n - 1 need; n from 1 to the output's height.
    frees  (node, graph, n) -> how many rows of its inputs, from the top, the output rows from n on
           do not need any more.
    call   (node, graph, held, first, end) -> the kernel call that makes the output rows from
           `first` to `end` - 1; `held` says of the tensors that are rings how many rows they hold.
    """

    needs: Callable[[Node, Graph, int], int]
    frees: Callable[[Node, Graph, int], int]
    call: Callable[[Node, Graph, Mapping[str, int], Argument, Argument], Call]


@dataclass(frozen=True)
class ByChannels:
    """How a gradient operator works on a few channels of a wide map at a time.

    Its first input, and its first output if there is one, are gradients of maps. `planes` names the
    gradients in memory with these channels only: both, or one while the other is whole.

    mixes  whether every channel of the output depends on all channels of the input; otherwise it
           depends on the same channel alone.
    call   (node, graph, planes, part, count) -> the kernel call for `count` channels, from channel
           part * count on. If the output is whole and the input is not, the output is the sum over
           the parts, which come in order.
    order  (node, planes) -> the constant that maps a position counted by `call` to its channel, or
           "" if they are equal.
    """

    mixes: bool
    call: Callable[[Node, Graph, Collection[str], Argument, int], Call]
    order: Callable[[Node, Collection[str]], str] = lambda node, planes: ""


@dataclass(frozen=True)
class Operator:
    """One operator of the IR.

    call      the kernel call, or several; None for a view: it costs nothing.
    kernel    the file in `templates/kernels/`.
    shape     output shape from the node and the shapes of its inputs (absent ones are `()`), or a
              tuple of shapes for several outputs; None for gradient and update nodes: their shapes
              follow from the forward tensors.
    macs      multiply-accumulates, given the node and its graph.
    gradient  appends the nodes for the gradient with respect to the inputs, given the names of the
              gradients of the outputs; None where there is no gradient.
    in_place  inputs no longer needed, whose memory the first output may take over; a rule if this
              depends on the node.
    onto      a rule for gradient nodes: the input slot for a gradient to which the node adds its
              first output; None if it cannot add.
    layer     has parameters that an update plan can name.
    fold      the node as a scale and offset of each channel, for the layer before it to absorb;
              None if the node is no such map.
    leftover  asked after all passes: why a remaining node cannot be compiled, or None.
    by_rows   how to make a part of the output; None if this is impossible.
    by_channels  a rule for how a gradient node works on a few channels at a time; None if it
              cannot, as for the rule's result.
    learns    a layer changed to learn as the plan says: the node, and the tensors to add or
              replace, with learning ones as parameters; None if its constants learn as they are.
    recover   the call that finds the node's data in flash again, at every start.
    go_back   the call that checks whether flash still holds the data named by the node's state.
    saves     a forward node changed to save values for a gradient that passes through it; called
              after `learns`.
    part      the function of net.c that calls the node, unless this follows from its place before
              or behind the loss.
    """

    name: str
    call: Callable[[Node, Graph], Call | tuple[Call | Loop, ...]] | None
    kernel: str | None
    shape: Callable[[Node, tuple[ShapeTuple, ...]], ShapeTuple | tuple[ShapeTuple, ...]] | None = (
        None
    )
    macs: Callable[[Node, Graph], int] = no_macs
    gradient: GradientRule | None = None
    in_place: tuple[int, ...] | Callable[[Node, Graph], tuple[int, ...]] = ()
    onto: Callable[[Node, Graph], int | None] | None = None
    layer: Layer | None = None
    fold: Callable[[Node, Graph], Affine | None] | None = None
    leftover: Callable[[Node, Graph], Unsupported | None] | None = None
    by_rows: ByRows | None = None
    by_channels: Callable[[Node, Graph], ByChannels | None] | None = None
    learns: Callable[[Node, Graph, LayerUpdate], Rewrite] | None = None
    saves: Callable[[Node, Graph, UpdatePlan], Rewrite] | None = None
    recover: Callable[[Node, Graph], Call] | None = None
    go_back: Callable[[Node, Graph], Call] | None = None
    part: Part | None = None


OPERATORS: dict[str, Operator] = {}


def register(operator: Operator) -> Operator:
    """Put an operator into the table; its name must be new."""
    if operator.name in OPERATORS:
        raise ValueError(f"operator {operator.name} is registered twice")
    OPERATORS[operator.name] = operator
    return operator


def same_shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    """The shape rule of elementwise operators: the shape of the first input."""
    return shapes[0]


def calls_of(node: Node, graph: Graph) -> tuple[Call | Loop, ...]:
    """The kernel calls of a node, in order; () for a view."""
    rule = OPERATORS[node.op].call
    made = rule(node, graph) if rule else ()
    return (made,) if isinstance(made, Call) else made


def single_calls(node: Node, graph: Graph) -> tuple[Call, ...]:
    """The kernel calls of a node, those inside loops included, each once."""
    made: list[Call] = []
    for call in calls_of(node, graph):
        made += call.calls if isinstance(call, Loop) else (call,)
    return tuple(made)


def kernels_of(node: Node) -> set[str]:
    """The files in `templates/kernels/` for a node and the nodes inside it."""
    own = OPERATORS[node.op].kernel
    inner: set[str] = set().union(*(kernels_of(each) for each in node.attrs.get("body", ())))
    return inner | {own} if own else inner


def by_channels_of(node: Node, graph: Graph) -> ByChannels | None:
    """How this node works on a few channels at a time, if it can."""
    rule = OPERATORS[node.op].by_channels
    return rule(node, graph) if rule else None


def in_place_of(node: Node, graph: Graph) -> tuple[int, ...]:
    """The input slots whose memory the first output of this node may take over."""
    rule = OPERATORS[node.op].in_place
    return rule(node, graph) if callable(rule) else rule


def output_shapes(node: Node, graph: Graph) -> tuple[ShapeTuple, ...]:
    """The shape of each output that the operator's own rule gives for a forward `node`."""
    rule = OPERATORS[node.op].shape
    if rule is None:
        raise ValueError(f"{node.op} is no forward operator")
    made: Any = rule(node, tuple(graph.shape(name) if name else () for name in node.inputs))
    several = bool(made) and isinstance(made[0], tuple)
    return tuple(made) if several else (made,)


def output_shape(node: Node, graph: Graph) -> ShapeTuple:
    """The shape of the first output; see `output_shapes`."""
    return output_shapes(node, graph)[0]


def weights_of(node: Node, graph: Graph) -> tuple[str, ...]:
    """The parameters in the weight slots of a layer; () when it is none, or computes them."""
    layer = OPERATORS[node.op].layer
    return _constants(node, graph, layer.weights) if layer else ()


def biases_of(node: Node, graph: Graph) -> tuple[str, ...]:
    """The parameters in the bias slots of a layer."""
    layer = OPERATORS[node.op].layer
    return _constants(node, graph, layer.biases) if layer else ()


def layers_of(graph: Graph) -> tuple[Node, ...]:
    """The nodes with parameters, in the order of execution."""
    return tuple(n for n in graph.nodes if weights_of(n, graph) or biases_of(n, graph))


def _constants(node: Node, graph: Graph, slots: tuple[int, ...]) -> tuple[str, ...]:
    names = (node.inputs[slot] for slot in slots if slot < len(node.inputs))
    return tuple(name for name in names if name and graph.tensor(name).data is not None)


def behind_views(name: str, graph: Graph) -> str:
    """The tensor whose memory this one shows: a view's base tensor, else the tensor itself."""
    while (node := graph.producer.get(name)) and OPERATORS[node.op].call is None:
        name = node.inputs[0]
    return name


def place(node: Node, graph: Graph) -> str:
    """Where a node stands, views aside, in words for what `leftover` says."""
    before = graph.producer.get(node.inputs[0])
    while before and before.op == "Reshape" and before.inputs[0] in graph.producer:
        before = graph.producer[before.inputs[0]]
    return f"after {before.op} node '{before.name}'" if before else "on the network's input"
