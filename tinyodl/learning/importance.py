"""How much the channels of layers matter: nodes that a training graph measures it with.

`Measured` names the layers; `differentiate` then adds a ChannelDelta node behind the gradient of
each one's output, and of its input. They sum over the samples of a pass, in the states named here.
Nothing has to learn: without a learning layer the graph measures alone, and its weights stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tinyodl.graph import Graph, Node, Storage, Tensor
from tinyodl.ops import OPERATORS
from tinyodl.ops.channel_delta import channels_of
from tinyodl.ops.shared import Backward


@dataclass(frozen=True)
class Measured:
    """What is measured in a pass.

    layers  the names of the layers whose outputs are measured
    shift   their biases too: the squares of the sums of gradients
    inputs  the channels of their inputs too, but of a layer with nothing to measure before it
    """

    layers: frozenset[str]
    shift: bool = True
    inputs: bool = True


NOTHING = Measured(frozenset())


def delta_name(layer: str) -> str:
    """The state (channels,) float32 with the sums for the output channels of a layer."""
    return f"<{layer}.output importance>"


def shift_name(layer: str) -> str:
    """The state (channels,) float32 with the sums for the bias of each output channel."""
    return f"<{layer}.bias importance>"


def inputs_name(layer: str) -> str:
    """The state (channels,) float32 with the sums for the input channels of a layer."""
    return f"<{layer}.input importance>"


def measured_outputs(
    backward: Backward, node: Node, gradient: str, of: Measured
) -> tuple[Node, list[Tensor]]:
    """The node that measures the output channels of a layer, and the states it sums up in."""
    states = [delta_name(node.name)] + ([shift_name(node.name)] if of.shift else [])
    layer = OPERATORS[node.op].layer
    axis = layer.channel_axis if layer else None
    return _measuring(backward.graph, node, node.outputs[0], gradient, states, axis)


def measured_inputs(backward: Backward, node: Node, gradient: str) -> tuple[Node, list[Tensor]]:
    """The node that measures the input channels of a layer, from its part of the gradient."""
    return _measuring(
        backward.graph, node, node.inputs[0], gradient, [inputs_name(node.name)], None
    )


def _measuring(
    graph: Graph, node: Node, of: str, gradient: str, states: list[str], axis: int | None
) -> tuple[Node, list[Tensor]]:
    attrs = channels_of(graph.shape(of), axis)
    tensors = [Tensor(name, (attrs["channels"],), Storage.STATE) for name in states]
    operands = (gradient, of, *(*states, "")[:2])
    return Node("ChannelDelta", states[0].strip("<>"), operands, (), attrs), tensors


def measurable(graph: Graph, layers: Iterable[Node]) -> list[str]:
    """The layers among these from which gradients come: all nodes behind them have a rule."""
    return [node.name for node in layers if not _blocked(graph, node)]


def _blocked(graph: Graph, layer: Node) -> bool:
    reached = set(layer.outputs)
    behind = [n for n in graph.nodes if n is not layer]
    for node in behind:
        if reached.intersection(node.inputs):
            if OPERATORS[node.op].gradient is None:
                return True
            reached.update(name for name in node.outputs if name)
    return False
