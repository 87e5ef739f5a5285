"""What each layer may learn in a search: its levels, from nothing to everything, with their values.

A level is nothing, the biases, a share of the output or input channels, or all weights. A share
takes the channels with the largest Delta. Values add up over layers: Delta of the channels that
learn, and what the biases are worth, as every level but nothing learns them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyodl.graph import Graph, Node
from tinyodl.ops import OPERATORS, biases_of, layers_of, weights_of
from tinyodl.ops.shared.float_learning import has_channels
from tinyodl.project.layer_update import ChannelUpdate, LayerUpdate
from tinyodl.select.importance import Importance, Layer

SHARES = (1 / 8, 1 / 4, 1 / 2)


@dataclass(frozen=True)
class Level:
    """One level: what the layer learns at it, what that is worth, and about what it keeps.

    nbytes  bytes of parameters that learn, without what an optimiser keeps beside them
    macs    multiply-accumulates of the gradients of these parameters
    """

    update: LayerUpdate
    value: float
    nbytes: int = 0
    macs: int = 0


@dataclass(frozen=True)
class Ladder:
    """A layer, and its levels: the first is nothing, and no other has a smaller value."""

    name: str
    levels: tuple[Level, ...]
    backward: int  # multiply-accumulates of its input's gradient


Choice = tuple[int, ...]  # the level of each ladder


def ladders_of(graph: Graph, found: Importance, without: Sequence[str]) -> tuple[Ladder, ...]:
    """A ladder for each measured layer but those in `without`, in the order of execution."""
    nodes = [n for n in layers_of(graph) if n.name in found.layers and n.name not in without]
    return tuple(_ladder(node, graph, found.layers[node.name]) for node in nodes)


def _ladder(node: Node, graph: Graph, layer: Layer) -> Ladder:
    levels = [Level("none", 0.0), *_levels(node, graph, layer)]
    return Ladder(node.name, tuple(levels), OPERATORS[node.op].macs(node, graph))


def _levels(node: Node, graph: Graph, layer: Layer) -> Iterator[Level]:
    biases, weights = biases_of(node, graph), weights_of(node, graph)
    kept = sum(2 if graph.tensor(b).dtype == "int32" else graph.tensor(b).nbytes for b in biases)
    y = graph.tensor(node.outputs[0]).size
    if biases:
        yield Level("bias", layer.bias, kept, y)
    size = sum(graph.tensor(name).nbytes for name in weights)
    macs = OPERATORS[node.op].macs(node, graph)
    for side, values in (("outputs", layer.outputs), ("inputs", layer.inputs)):
        if values is None or side not in sides(node, graph):
            continue
        most_first = np.argsort(-values, kind="stable")
        for share in SHARES:
            count = max(1, round(share * len(values)))
            chosen = most_first[:count]
            if count < len(values) and round(share * len(values)) >= 1:
                update = ChannelUpdate(**{side: tuple(sorted(int(c) for c in chosen))})
                part = count / len(values)
                value = layer.bias + float(values[chosen].sum())
                yield Level(update, value, kept + round(part * size), y + round(part * macs))
    if weights:
        yield Level("weights", layer.bias + layer.whole, kept + size, y + macs)


def sides(node: Node, graph: Graph) -> tuple[str, ...]:
    """The sides on which some channels of a layer may learn: outputs, inputs, both or none."""
    if OPERATORS[node.op].learns is None:
        return ()
    if graph.tensor(node.inputs[1]).dtype == "float32":
        return ("outputs",) if has_channels(node, graph) else ()
    channels = graph.shape(node.inputs[0])[1]
    if node.attrs["group"] > 1:  # of a depthwise one both sides are the same
        return ("outputs",)
    return ("outputs", "inputs") if channels > 1 else ("outputs",)


def value_of(ladders: Sequence[Ladder], choice: Choice) -> float:
    """What a choice is worth."""
    return sum(of.levels[at].value for of, at in zip(ladders, choice, strict=True))


def updates_of(ladders: Sequence[Ladder], choice: Choice) -> Mapping[str, LayerUpdate]:
    """A choice as the layers of a plan."""
    pairs = zip(ladders, choice, strict=True)
    return {of.name: of.levels[at].update for of, at in pairs if at}


def worth(update: LayerUpdate, layer: Layer) -> float:
    """What any entry of a plan is worth, by the same rule."""
    if update == "none":
        return 0.0
    if isinstance(update, str):
        return layer.bias + (layer.whole if update == "weights" else 0.0)
    values = layer.outputs if update.side == "outputs" or layer.inputs is None else layer.inputs
    assert isinstance(update.chosen, tuple)
    return layer.bias + float(values[list(update.chosen)].sum())
