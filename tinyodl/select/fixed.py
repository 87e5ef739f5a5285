"""The update schemes that need no data: the last layer, all biases, everything, nothing."""

from __future__ import annotations

from tinyodl.errors import ModelError
from tinyodl.graph import Graph
from tinyodl.ops import OPERATORS, biases_of, layers_of
from tinyodl.project.layer_update import Updates

SCHEMES = ("last", "bias", "full", "none")


def choose(graph: Graph, scheme: str) -> dict[str, Updates]:
    """The learning part of each layer under one of `SCHEMES`, in the order of execution.

    "last" is the weights and biases of the last layer (not counting a BatchNormalization that the
    layer before can absorb), "bias" all biases and nothing else, "full" everything. A value shared
    by several layers learns if any of them learns it. Raises ModelError when the model has nothing
    of the kind.
    """
    layers = layers_of(graph)
    chosen: dict[str, Updates] = {node.name: "none" for node in layers}
    if scheme == "last":
        last = [node.name for node in layers if OPERATORS[node.op].fold is None][-1:]
        chosen.update(dict.fromkeys(last, "weights"))
    elif scheme == "bias":
        chosen.update({node.name: "bias" for node in layers if biases_of(node, graph)})
    elif scheme == "full":
        chosen.update({node.name: "weights" for node in layers})
    if scheme != "none" and set(chosen.values()) <= {"none"}:
        raise ModelError(
            f"--update {scheme}: the model has no layer with "
            f"{'a bias' if scheme == 'bias' else 'weights'} that could learn; use --update none"
        )
    return chosen
