"""Running layers row by row, one behind the other, so that the maps between them are never whole.

The first layers of a network have the largest maps, and no other part of a training step needs as
much memory. Where they are frozen nothing of these maps is kept, so a run of nodes may become one
node, Rows, which makes the rows of its last map in turn, through all its layers: the maps between
them are held as rings of the few rows that are still needed. Every row is made once and stays until
the last node that reads it is done with it, so nothing is computed twice.

Which runs are worth it is decided for the whole training graph: as little memory as possible at the
peak, then as few nodes as possible in runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyodl.graph import Graph, Node, Phase, Storage, Tensor
from tinyodl.memory import aligned, arena_blocks, live_bytes, plan_arena, tensor_lifetimes
from tinyodl.ops import OPERATORS
from tinyodl.ops.shared import ByRows
from tinyodl.ops.shared.rows import height


@dataclass(frozen=True)
class Turns:
    """How a run of nodes is done by rows.

    made   how many rows of each output there are before each turn, and after the last one
    rings  how many rows of each output but the last have to be held at most
    """

    made: Mapping[str, tuple[int, ...]]
    rings: Mapping[str, int]


def turns(body: Sequence[Node], graph: Graph) -> Turns:
    """Make the rows of the last output in turn, and every row that this needs as late as possible.

    In one turn the nodes come in their order. Another turn begins where one is needed that stands
    before the last one.
    """
    made = {node.outputs[0]: 0 for node in body}
    rings = dict.fromkeys(made, 1)
    table: dict[str, list[int]] = {name: [0] for name in made}
    position = {node.outputs[0]: index for index, node in enumerate(body)}
    readers = {name: [node for node in body if name in node.inputs] for name in made}
    last = 0

    def make(node: Node, rows: int) -> None:
        """Make the rows of the output of `node` up to the first `rows`."""
        nonlocal last
        name = node.outputs[0]
        while made[name] < rows:
            needed = _by_rows(node).needs(node, graph, made[name] + 1)
            for operand in node.inputs:
                if operand in made:
                    make(body[position[operand]], needed)
            if position[name] < last:
                for other, done in made.items():
                    table[other].append(done)
            last = position[name]
            made[name] += 1
            rings[name] = max(rings[name], made[name] - freed(name))

    def freed(name: str) -> int:
        """The rows, from the top, that nobody will read again."""
        done = (_by_rows(node).frees(node, graph, made[node.outputs[0]]) for node in readers[name])
        return min(done, default=0)

    result = body[-1].outputs[0]
    make(body[-1], height(result, graph))
    for name, done in made.items():
        table[name].append(done)
    del rings[result]
    return Turns({name: tuple(rows) for name, rows in table.items()}, rings)


def _by_rows(node: Node) -> ByRows:
    rule = OPERATORS[node.op].by_rows
    if rule is None:
        raise ValueError(f"{node.op} cannot be computed row by row")
    return rule


def by_rows(graph: Graph) -> Graph:
    """The training graph `graph`, with runs of forward nodes by rows where that saves memory."""
    runs = _best_runs(graph)
    made = with_rows(graph, [(run.first, run.end) for run in runs])
    return made if runs and plan_arena(made).nbytes < plan_arena(graph).nbytes else graph


def with_rows(graph: Graph, runs: Sequence[tuple[int, int]]) -> Graph:
    """`graph` with the nodes from `first` to `end` - 1 as one, for each (first, end), in order.

    Each of them makes one map by rows, and of these only the last one is read by any other node.
    """
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    done = 0
    for first, end in runs:
        node, added = _rows(graph.nodes[first:end], graph)
        nodes += [*graph.nodes[done:first], node]
        tensors += added
        done = end
    return graph.with_tensors(tensors).with_nodes([*nodes, *graph.nodes[done:]])


def _rows(body: Sequence[Node], graph: Graph) -> tuple[Node, list[Tensor]]:
    """The node for a run, and the tensors that it adds: its tables, and its maps as rings."""
    body = tuple(_bare(node) for node in body)
    done = turns(body, graph)
    read = dict.fromkeys(i for node in body for i in node.inputs if i and i not in done.made)
    tables: dict[tuple[int, ...], Tensor] = {}
    for name, rows in done.made.items():
        if rows not in tables:
            data = np.array(rows, np.uint16)
            tables[rows] = Tensor(f"<{name}.made>", data.shape, Storage.FLASH, "uint16", data)
    node = Node(
        op="Rows",
        name=f"{body[0].name} to {body[-1].name}",
        inputs=(*read, *(table.name for table in tables.values())),
        outputs=(body[-1].outputs[0], *done.rings),
        attrs={
            "body": body,
            "maps": {name: graph.shape(name) for name in done.rings},
            "made": {name: tables[rows].name for name, rows in done.made.items()},
            "turns": len(done.made[body[-1].outputs[0]]) - 1,
        },
    )
    rings = (_ring(graph.tensor(name), rows) for name, rows in done.rings.items())
    return node, [*tables.values(), *rings]


def _bare(node: Node) -> Node:
    """A node without the outputs that only help it, which by rows it does not need."""
    return replace(node, outputs=(node.outputs[0], *("" for _ in node.outputs[1:])))


def _ring(tensor: Tensor, rows: int) -> Tensor:
    batch, channels, _, width = tensor.shape
    return replace(tensor, shape=(batch, channels, rows, width))


@dataclass(frozen=True)
class _Run:
    """The nodes from `first` to `end` - 1 by rows; then `live` bytes are alive."""

    first: int
    end: int
    live: int


def _best_runs(graph: Graph) -> tuple[_Run, ...]:
    """The runs with which the peak is lowest, of those the ones with the fewest nodes."""
    lives = _Lives.of(graph)
    forward = sum(node.phase is Phase.FORWARD for node in graph.nodes)
    floor = max(lives.upload, *lives.steps[forward:])
    ending: dict[int, list[_Run]] = {end: [] for end in range(forward + 1)}
    for run in _runs(graph, lives, forward, floor):
        ending[run.end].append(run)

    peaks = [floor]  # that can be had up to each step
    for end in range(1, forward + 1):
        plain = max(peaks[end - 1], lives.steps[end - 1])
        peaks.append(min([plain, *(max(peaks[run.first], run.live) for run in ending[end])]))
    peak = peaks[forward]

    best: list[_Choice | None] = [_Choice()]  # up to each step, with that peak
    for end in range(1, forward + 1):
        options = [best[end - 1]] if lives.steps[end - 1] <= peak else []
        options += [
            before.then(run)
            for run in ending[end]
            if run.live <= peak and (before := best[run.first])
        ]
        there = [option for option in options if option]
        best.append(min(there, key=lambda choice: (choice.nodes, choice.live), default=None))
    found = best[forward]
    return found.runs if found else ()


@dataclass(frozen=True)
class _Choice:
    """Some runs, how many nodes are in them, and the bytes alive during each, added up."""

    runs: tuple[_Run, ...] = ()
    nodes: int = 0
    live: int = 0

    def then(self, run: _Run) -> _Choice:
        return _Choice((*self.runs, run), self.nodes + run.end - run.first, self.live + run.live)


@dataclass(frozen=True)
class _Lives:
    """What is alive at the upload and at each step.

    carried   at each step, the bytes of what was made before it and is read at it or later
    last_use  the last step of each tensor
    """

    upload: int
    steps: Sequence[int]
    carried: Sequence[int]
    last_use: Mapping[str, int]

    @classmethod
    def of(cls, graph: Graph) -> _Lives:
        lifetimes = tensor_lifetimes(graph)
        blocks, within = arena_blocks(graph, lifetimes)
        upload, *steps = (nbytes for _, nbytes in live_bytes(blocks, len(graph.nodes)))
        carried = [0] * len(graph.nodes)
        for block in blocks:
            for step in range(block.first + 1, block.last + 1):
                tops = [
                    within[name] + graph.tensor(name).nbytes
                    for name in block.tensors
                    if lifetimes[name][0] < step <= lifetimes[name][1]
                ]
                if step < len(carried):
                    carried[step] += aligned(max(tops, default=0))
        return cls(upload, steps, carried, {name: last for name, (_, last) in lifetimes.items()})


def _runs(graph: Graph, lives: _Lives, forward: int, floor: int) -> Iterator[_Run]:
    """The runs that could lower the peak: they hold a step with more than `floor` bytes alive."""
    peak = max(lives.steps)
    for end in range(1, forward + 1):
        result = graph.nodes[end - 1].outputs[0]
        for first in range(end - 1, -1, -1):
            node = graph.nodes[first]
            inside = first == end - 1 or lives.last_use.get(node.outputs[0], end) < end
            if not inside or not _can_run(node, graph):
                break
            least = lives.carried[first] + aligned(graph.tensor(result).nbytes)
            if least >= peak or max(lives.steps[first:end]) <= floor:
                continue
            done = turns(graph.nodes[first:end], graph)
            rings = (_ring(graph.tensor(name), rows) for name, rows in done.rings.items())
            live = least + sum(aligned(ring.nbytes) for ring in rings)
            if live < peak:
                yield _Run(first, end, live)


def _can_run(node: Node, graph: Graph) -> bool:
    """Whether a node makes one map, by rows, and whatever else it makes is read by nobody."""
    made, *others = node.outputs
    unread = not any(graph.consumers[name] for name in others if name)
    return unread and len(graph.shape(made)) == 4 and OPERATORS[node.op].by_rows is not None
