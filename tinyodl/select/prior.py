"""Which layers learn where there are no samples to choose with.

On every network measured, the biases of all layers with the last layer were 1.3 to 3.1 points
better than the last layer alone, for a few percent of the memory; and layers in the middle,
pointwise and depthwise ones first, were better than the last few (docs/choosing.md).
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.learning.importance import measurable
from tinyodl.ops import biases_of, layers_of
from tinyodl.project.layer_update import ChannelUpdate, LayerUpdate
from tinyodl.select.budget import Costs
from tinyodl.select.levels import sides

_MOST_MIDDLE = 12  # layers in the middle that are tried, the first that fit stay


def by_prior(graph: Graph, costs: Costs) -> dict[str, LayerUpdate]:
    """The layers that learn beside the base: biases from the last layer on, then the middle ones.

    The channels of a share are those with the largest weights, for want of anything better.
    """
    reached = set(measurable(graph, layers_of(graph))) - set(costs.base)
    layers = [node for node in layers_of(graph) if node.name in reached]
    biased = [node.name for node in layers if biases_of(node, graph)]
    first = _first_that_fits(biased, costs)
    chosen: dict[str, LayerUpdate] = dict.fromkeys(biased[first:], "bias")
    for node in _from_the_middle(layers, graph)[:_MOST_MIDDLE]:
        for update in _levels(node, graph):
            if costs.fits({**chosen, node.name: update}):
                chosen[node.name] = update
                break
    return {node.name: chosen[node.name] for node in layers if node.name in chosen}


def _first_that_fits(biased: list[str], costs: Costs) -> int:
    """The earliest place from which on all biases fit."""
    low, high = -1, len(biased)
    while high - low > 1:
        middle = (low + high) // 2
        fits = costs.fits(dict.fromkeys(biased[middle:], "bias"))
        low, high = (low, middle) if fits else (middle, high)
    return high


def _from_the_middle(layers: list[Node], graph: Graph) -> list[Node]:
    """Pointwise and depthwise layers before others, each kind from the middle outwards."""
    middle = (len(layers) - 1) / 2
    places = sorted(range(len(layers)), key=lambda at: (abs(at - middle), at))
    ordered = [layers[at] for at in places]
    return sorted(ordered, key=lambda node: not _is_light(node, graph))


def _is_light(node: Node, graph: Graph) -> bool:
    """Whether a layer is a pointwise or a depthwise convolution."""
    group = node.attrs.get("group")
    if group is None:
        return False
    return bool(group > 1 or graph.shape(node.inputs[1])[2:] == (1, 1))


def _levels(node: Node, graph: Graph) -> list[LayerUpdate]:
    shares = (1 / 2, 1 / 4, 1 / 8) if sides(node, graph) else ()
    return ["weights", *(ChannelUpdate(outputs=share) for share in shares)]
