"""A lower bound of the arena, without deciding what runs by rows or by channels.

`by_rows` and `by_channels` merge nodes, and of the maps between those nodes they hold only a part.
A tensor that is made before a cut of the schedule and read behind it is whole, unless a merged node
lies on both sides of the cut. So the bytes alive at the other cuts are needed in any case.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tinyodl.graph import Graph, Phase
from tinyodl.learning.tensors import sample_inputs
from tinyodl.memory.arena import ALIGNMENT, tensor_lifetimes
from tinyodl.memory.by_channels import possible_regions
from tinyodl.memory.rows import can_run
from tinyodl.ops import behind_views, in_place_of


def least_arena(graph: Graph) -> int:
    """A lower bound in bytes for every arena of `graph`, by rows and by channels or not.

    `graph` is a training graph with its sums in place. The proof, for the cut before step `cut`:

    1. `by_channels` keeps all nodes before the cut in front of the nodes behind it, if no region
       lies on both sides. A node in front of the cut then waits for none behind it, and of all
       ready nodes `by_channels` takes the earliest. Its regions go backward: in front of them the
       order does not change at all.
    2. `by_rows` merges neighbours that go forward and can run by rows. So no run lies on both sides
       of a cut with a neighbour that cannot run, nor of the cut in front of the backward pass.
    3. A tensor that crosses such a cut is then an input or output of the remaining nodes, hence
       whole. An output takes over the memory of an input only if it begins at the step at which
       the input ends. So two tensors that cross the same cut do not share memory, unless one is a
       view. Of a view and its base tensor, the larger one is counted.
    4. Between two neighbouring cuts of this kind stands one node by itself, and its inputs and
       outputs are there at once. Its first output is left out if it may lie over an input.
    """
    cuts = _kept_cuts(graph)
    steps = [cut for cut in cuts if cut + 1 in cuts]
    over = {graph.nodes[step].outputs[0] for step in steps if in_place_of(graph.nodes[step], graph)}
    crossing, there = {}, {}
    for name, (first, last) in tensor_lifetimes(graph).items():
        crossing[name] = (first + 1, last)
        there[name] = (first + (name in over), last)
    at_cuts, at_steps = _live(crossing, graph), _live(there, graph)
    return int(max([*at_cuts[list(cuts)], *at_steps[steps]], default=0))


def _kept_cuts(graph: Graph) -> set[int]:
    """The cuts that no run by rows and no region by channels can cross; cut 0: the upload."""
    nodes = graph.nodes
    phases = [node.phase for node in nodes]
    forward = phases.index(Phase.BACKWARD) if Phase.BACKWARD in phases else len(nodes)
    runs = [can_run(node, graph) for node in nodes[:forward]]
    kept = {cut for cut in range(1, forward) if not (runs[cut - 1] and runs[cut])}
    kept |= {cut for cut in (0,) if not runs or not runs[0]}
    kept |= set(range(forward, len(nodes) + 1))
    for region in possible_regions(graph):
        kept -= set(range(region.steps[0] + 1, region.steps[-1] + 1))
    return kept


def _live(spans: Mapping[str, tuple[int, int]], graph: Graph) -> NDArray[np.int64]:
    """Bytes from the upload to the end, of tensors that are there from first to last.

    They share no memory but by views. Inputs lie side by side.
    """
    largest: dict[str, NDArray[np.int64]] = {}
    for name, (first, last) in spans.items():
        live = largest.setdefault(
            behind_views(name, graph), np.zeros(len(graph.nodes) + 1, np.int64)
        )
        part = live[max(first, 0) : last + 1]
        np.maximum(part, graph.tensor(name).nbytes, out=part)
    nothing = np.zeros(len(graph.nodes) + 1, np.int64)
    inputs = sum((largest.pop(name, nothing) for name in sample_inputs(graph)), nothing)
    return np.asarray(_aligned(np.stack([inputs, *largest.values()])).sum(axis=0))


def _aligned(nbytes: NDArray[np.int64]) -> NDArray[np.int64]:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
