"""The backward pass through wide maps, a few channels at a time.

Between two pointwise convolutions a mobile network is wide (Sandler et al. 2018, MobileNetV2). The
float32 gradients of these wide maps are the largest tensors of the backward pass. The first
convolution makes each channel of such a gradient by itself, a depthwise layer in between works
channel by channel, and the last convolution sums over the channels. So all these nodes can become
one node, ByChannels. It takes a few channels at a time through all of them, and holds the wide
gradients of these channels only. The sums keep their order, so the bits are the same.

`by_channels` chooses where to do this. It first makes the peak of the backward pass as low as
possible, then uses as few regions as possible, then takes as many channels at a time as cost no
memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError

import numpy as np

from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.memory.arena import arena_blocks, live_bytes, tensor_lifetimes
from tinyodl.memory.schedule import changed, earliest_first, steps_behind
from tinyodl.ops import in_place_of
from tinyodl.ops.by_channels import TURN
from tinyodl.ops.shared import Symbol, by_channels_of
from tinyodl.ops.shared.candidate import is_order_name, place_in

_TOGETHER = 4  # channels at a time: the kernels are fastest with these


@dataclass(frozen=True)
class Region:
    """Nodes that can work on a few channels at a time.

    steps    where they stand in the graph
    planes   the gradients between them, all of as many channels
    order    the constant with the order of the channels, or "" for 0, 1, 2, ...
    orders   for each node, the constant with the order in which it counts the channels, or ""
    """

    steps: tuple[int, ...]
    planes: tuple[str, ...]
    order: str
    orders: tuple[str, ...]


Choice = Mapping[Region, int]  # regions to turn into nodes, and how many channels at a time


def by_channels(graph: Graph, within: int = 0) -> Graph:
    """The training graph `graph`, with ByChannels in its backward pass where this saves memory.

    The arena needs `within` bytes in any case: a lower peak is no gain.
    """
    tried = graph.remember("<by channels>", lambda: _Tried(graph))
    choice = tried.that_help
    peak = max(within, tried.peak(choice))
    for region in sorted(choice, key=lambda region: len(region.steps), reverse=True):
        fewer = {other: count for other, count in choice.items() if other != region}
        if tried.peak(fewer) <= peak:
            choice = fewer
    for region in choice:
        faster = {**choice, region: most_together(region, graph)}
        if tried.peak(faster) <= peak:
            choice = faster
    return tried.made(choice) if choice else graph


@dataclass
class _Tried:
    """The choices tried for a graph, with their graphs and peaks."""

    graph: Graph
    _made: dict[frozenset[tuple[Region, int]], Graph] = field(default_factory=dict)
    _peaks: dict[frozenset[tuple[Region, int]], int] = field(default_factory=dict)

    @cached_property
    def that_help(self) -> Choice:
        return _that_help(self.graph)

    def made(self, choice: Choice) -> Graph:
        key = frozenset(choice.items())
        if key not in self._made:
            self._made[key] = with_regions(self.graph, choice)
        return self._made[key]

    def peak(self, choice: Choice) -> int:
        key = frozenset(choice.items())
        if key not in self._peaks:
            self._peaks[key] = _peak(with_regions(self.graph, choice))
        return self._peaks[key]


def regions(graph: Graph) -> list[Region]:
    """Regions without common nodes. Where regions overlap, the one with the larger maps stays."""
    largest_first = sorted(possible_regions(graph), key=lambda region: -_largest(region, graph))
    apart = _apart(largest_first)
    if _can_stand(graph, apart):  # a part of them can stand, too
        return apart
    chosen: list[Region] = []
    for region in largest_first:
        tried = [*chosen, region]
        if _apart(tried) == tried and _can_stand(graph, tried):
            chosen = tried
    return chosen


def _apart(found: Iterable[Region]) -> list[Region]:
    """The regions that have no node of those before them."""
    taken: set[int] = set()
    apart = []
    for region in found:
        if taken.isdisjoint(region.steps):
            taken.update(region.steps)
            apart.append(region)
    return apart


def possible_regions(graph: Graph) -> list[Region]:
    """Every possible region. Regions may overlap."""
    found = (_region(step, graph) for step in range(len(graph.nodes)))
    return [region for region in found if region]


def _can_stand(graph: Graph, chosen: Iterable[Region]) -> bool:
    """Whether the regions can be scheduled: none must run both before and after a node."""
    try:
        _schedule(graph, chosen)
    except CycleError:
        return False
    return True


def _largest(region: Region, graph: Graph) -> int:
    """Bytes of the largest gradient inside the region."""
    return max(graph.tensor(name).nbytes for name in region.planes)


def _that_help(graph: Graph) -> Choice:
    """The regions that need less memory than their nodes, when they take one channel at a time."""
    found = regions(graph)
    plain, made = _live(graph), with_regions(graph, dict.fromkeys(found, 1))
    live = {node.name: nbytes for node, nbytes in zip(made.nodes, _live(made), strict=True)}
    return {
        region: 1
        for region in found
        if live[_name(region, graph)] < max(plain[step] for step in region.steps)
    }


def most_together(region: Region, graph: Graph) -> int:
    """How many channels at a time are fastest; 1 where the layers count channels differently."""
    channels = graph.shape(region.planes[0])[1]
    return _TOGETHER if set(region.orders) == {region.order} and channels % _TOGETHER == 0 else 1


def _live(graph: Graph) -> list[int]:
    """Live bytes of the arena at each node."""
    blocks, _ = arena_blocks(graph, tensor_lifetimes(graph))
    _, *steps, _ = (nbytes for _, nbytes in live_bytes(blocks, len(graph.nodes)))
    return steps


def _peak(graph: Graph) -> int:
    """The most bytes alive at once in the backward pass."""
    nodes = zip(graph.nodes, _live(graph), strict=True)
    return max((live for node, live in nodes if node.phase is not Phase.FORWARD), default=0)


def _region(first: int, graph: Graph) -> Region | None:
    """The region that begins with node `first`; None if one of its nodes cannot go by channels."""
    start = graph.nodes[first]
    rule = by_channels_of(start, graph)
    if rule is None or not rule.mixes or len(graph.shape(start.outputs[0])) != 4:
        return None
    found, planes = {first: rule}, [start.outputs[0]]
    for step, node in enumerate(graph.nodes[first + 1 :], first + 1):
        read = [name for name in node.inputs if name in planes]
        if not read:
            continue
        rule = by_channels_of(node, graph)
        if rule is None or read != [node.inputs[0]]:
            return None
        found[step] = rule
        if node.outputs and not rule.mixes:
            planes.append(node.outputs[0])
    orders = [rule.order(graph.nodes[step], planes) for step, rule in found.items()]
    added = {orders[i] for i, rule in enumerate(found.values()) if i > 0 and rule.mixes}
    if len(found) == 1 or len(added) > 1 or not _learns_in_turn(tuple(found), graph):
        return None
    order = added.pop() if added else ""
    return Region(tuple(found), tuple(planes), order, tuple(orders))


def _learns_in_turn(steps: Sequence[int], graph: Graph) -> bool:
    """Whether parameters that a node changes are read only by nodes with the same channels of them.

    These readers stand earlier, so they read the values of a channel before the values change.
    """
    body = [graph.nodes[step] for step in steps]
    return all(
        other.inputs[0] == node.inputs[0]
        for node in body
        for other in body
        if changed(node, graph).intersection(other.inputs)
    )


def _schedule(graph: Graph, chosen: Iterable[Region]) -> list[Region | Node]:
    """The regions and the nodes outside them, each as early as the order of the nodes allows.

    Raises CycleError if a region would have to run both before and after a node.
    """
    these = frozenset(chosen)
    known: dict[frozenset[Region], list[Region | Node]] = graph.remember("<schedules>", dict)
    if these not in known:
        known[these] = _new_schedule(graph, these)
    return known[these]


def _new_schedule(graph: Graph, chosen: Iterable[Region]) -> list[Region | Node]:
    at = {step: region for region in chosen for step in region.steps}
    place = [at[step].steps[0] if step in at else step for step in range(len(graph.nodes))]
    behind: dict[int, set[int]] = {own: set() for own in place}
    every = graph.remember("<behind>", lambda: steps_behind(graph))
    for own, before in zip(place, every, strict=True):
        behind[own].update(place[step] for step in before)
    return [at[own] if own in at else graph.nodes[own] for own in earliest_first(behind)]


def with_regions(graph: Graph, choice: Choice) -> Graph:
    """The graph with each region of `choice` as one node, with its number of channels at a time."""
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for item in _schedule(graph, choice):
        if isinstance(item, Node):
            nodes.append(item)
            continue
        node, added = _node(item, choice[item], graph)
        nodes.append(node)
        tensors += added
    return graph.with_tensors(tensors).with_nodes(nodes)


def _node(region: Region, count: int, graph: Graph) -> tuple[Node, list[Tensor]]:
    """The node for a region, and the tensors it adds: its tables, and its maps as planes."""
    known: dict[tuple[Region, int], tuple[Node, list[Tensor]]] = graph.remember("<regions>", dict)
    if (region, count) not in known:
        known[region, count] = _new_node(region, count, graph)
    return known[region, count]


def _new_node(region: Region, count: int, graph: Graph) -> tuple[Node, list[Tensor]]:
    body = _sharing_planes([graph.nodes[step] for step in region.steps], region, graph)
    made = dict.fromkeys(node.outputs[0] for node in body if node.outputs)
    planes = [graph.tensor(name) for name in made if name in region.planes]
    read = dict.fromkeys(i for node in body for i in node.inputs if i and i not in made)
    parts, tables = _parts(region, graph)
    known = [part for part in parts if part and isinstance(part, str)]
    node = Node(
        op="ByChannels",
        name=_name(region, graph),
        inputs=(*(read | dict.fromkeys(known)),),
        outputs=(*(name for name in made if name not in region.planes), *(p.name for p in planes)),
        attrs={
            "body": body,
            "maps": {plane.name: plane.shape for plane in planes},
            "parts": parts,  # of candidates in C, as their order is chosen later
            "count": count,
            "turns": planes[0].shape[1] // count,
        },
        phase=Phase.BACKWARD,
    )
    return node, tables + [replace(p, shape=(1, count, *p.shape[2:])) for p in planes]


def _name(region: Region, graph: Graph) -> str:
    """The node's name: from the first layer to the last."""
    ends = (graph.nodes[region.steps[0]], graph.nodes[region.steps[-1]])
    return " to ".join(node.name.removesuffix(f".{node.op}") for node in ends)


def _sharing_planes(nodes: Sequence[Node], region: Region, graph: Graph) -> tuple[Node, ...]:
    """The nodes as a region runs them: with their first output only, in place where possible."""
    shared: dict[str, str] = {}
    body = []
    for position, node in enumerate(nodes):
        node = replace(node, outputs=node.outputs[:1])
        read_again = any(node.inputs[0] in later.inputs for later in nodes[position + 1 :])
        if node.inputs[0] in region.planes and 0 in in_place_of(node, graph) and not read_again:
            shared[node.outputs[0]] = shared.get(node.inputs[0], node.inputs[0])
        inputs = tuple(shared.get(name, name) for name in node.inputs)
        outputs = tuple(shared.get(name, name) for name in node.outputs)
        body.append(replace(node, inputs=inputs, outputs=outputs))
    return tuple(body)


def _parts(region: Region, graph: Graph) -> tuple[tuple[str | Symbol, ...], list[Tensor]]:
    """For each node its table with the order of its channels, "", or C for it; and new tables."""
    tables: dict[str, str | Symbol] = {region.order: "", "": region.order}
    added = []
    for step, order in zip(region.steps, region.orders, strict=True):
        if order != region.order and (is_order_name(order) or is_order_name(region.order)):
            tables[order] = place_in(order, region.order, TURN)
        if order not in tables:
            where = np.argsort(_constant(order, graph))
            data = (where[_constant(region.order, graph)] if region.order else where).astype(
                np.uint16
            )
            table = tables[order] = f"<{graph.nodes[step].name}.part>"
            added.append(Tensor(table, data.shape, Storage.FLASH, "uint16", data))
    return tuple(tables[order] for order in region.orders), added


def _constant(name: str, graph: Graph) -> Array:
    data = graph.tensor(name).data
    assert data is not None
    return data
