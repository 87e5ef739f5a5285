"""In which order the nodes of a training graph can run: what each one has to follow."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from graphlib import CycleError

from tinyodl.graph import Graph, Node, Storage
from tinyodl.ops.shared.candidate import POOL, candidate_weight, number_of


def changed(node: Node, graph: Graph) -> frozenset[str]:
    """What a node without outputs may change: parameters and states, a candidate's own weight."""
    if number_of(node) is not None and POOL in node.inputs:
        return frozenset([candidate_weight(node)])
    kept = (Storage.PARAMETER, Storage.STATE)
    names = () if node.outputs else node.inputs
    return frozenset(name for name in names if name and graph.tensor(name).storage in kept)


def steps_behind(graph: Graph) -> list[set[int]]:
    """The earlier steps that each step must follow.

    Such a step writes a tensor of this one, or reads one of its outputs.
    """
    behind: list[set[int]] = []
    writer: dict[str, int] = {}
    readers: dict[str, set[int]] = {}
    for step, node in enumerate(graph.nodes):
        written = {*node.outputs, *changed(node, graph)}
        before: set[int] = set()
        for name in filter(None, (*node.inputs, *written)):
            before |= {writer[name]} if name in writer else set()
            before |= readers.get(name, set()) if name in written else set()
        behind.append(before)
        for name in node.inputs:
            readers.setdefault(name, set()).add(step)
        for name in written:
            writer[name], readers[name] = step, set()
    return behind


def earliest_first(behind: Mapping[int, set[int]]) -> list[int]:
    """The numbers in topological order; of several ready numbers the smallest comes first.

    `behind` has for each number the numbers that must come before it. Raises CycleError.
    """
    waits_for = {own: len(before - {own}) for own, before in behind.items()}
    followers: dict[int, list[int]] = {own: [] for own in behind}
    for own, before in behind.items():
        for other in before - {own}:
            followers[other].append(own)
    ready = sorted(own for own, count in waits_for.items() if not count)
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for own in followers[order[-1]]:
            waits_for[own] -= 1
            if not waits_for[own]:
                heapq.heappush(ready, own)
    if len(order) < len(behind):
        raise CycleError
    return order
