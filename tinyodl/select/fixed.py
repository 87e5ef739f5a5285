"""The update schemes that need no data: the last layer, all biases, everything, nothing."""

from __future__ import annotations

from tinyodl.errors import ModelError
from tinyodl.graph import Graph, Node
from tinyodl.ops import OPERATORS
from tinyodl.plan import Updates

SCHEMES = ("last", "bias", "full", "none")


def choose(graph: Graph, scheme: str) -> dict[str, Updates]:
    """What each layer updates under one of `SCHEMES`, in the order of execution.

    "last" is the weight and bias of the last layer that has any, "bias" all biases and nothing
    else, "full" everything. Raises ModelError when the model has nothing of the kind.
    """
    layers = [node for node in graph.nodes if OPERATORS[node.op].layer]
    chosen: dict[str, Updates] = {node.name: "none" for node in layers}
    if scheme == "last" and layers:
        chosen[layers[-1].name] = "weights"
    elif scheme == "bias":
        chosen.update({node.name: "bias" for node in layers if bias_of(node)})
    elif scheme == "full":
        chosen.update({node.name: "weights" for node in layers})
    if scheme != "none" and set(chosen.values()) <= {"none"}:
        raise ModelError(
            f"--update {scheme}: the model has no layer with "
            f"{'a bias' if scheme == 'bias' else 'weights'} that could learn; use --update none"
        )
    return chosen


def bias_of(layer: Node) -> str:
    """The name of the layer's bias tensor, "" if it has none."""
    slots = OPERATORS[layer.op].layer
    return layer.inputs[slots[1]] if slots else ""
