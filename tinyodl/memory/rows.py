"""Runs layers row by row, one after the other, so that the maps between them are never whole.

The first layers of a network have the largest maps, and no other part of a training step needs as
much memory. If these layers are frozen, the backward pass does not need their maps. So a run of
nodes can become one node, Rows. It makes the rows of its last map in turn, through all its layers,
and holds the maps between them as rings of the few rows still needed. Every row is made once and
stays until its last reader is done, so nothing is computed twice.

A run that begins with the network may also work on the sample while it arrives, row by row. Each
turn comes as soon as its rows are there, and only a ring of the sample's rows is held.

`by_rows` chooses the runs for the whole training graph: the least memory at the peak comes first,
then a sample held as a whole, then the fewest nodes in runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.tensors import sample_inputs
from tinyodl.memory.arena import aligned, arena_blocks, live_bytes, plan_arena, tensor_lifetimes
from tinyodl.memory.turns import arrival, turns
from tinyodl.ops import OPERATORS


def by_rows(graph: Graph) -> Graph:
    """The training graph `graph`, with runs of forward nodes by rows where that saves memory."""
    return graph.remember("<by rows>", lambda: _by_rows_best(graph))


def _by_rows_best(graph: Graph) -> Graph:
    lives = _Lives.of(graph)
    runs = list(_runs(graph, lives))
    behind_the_upload = _best([run for run in runs if not run.arriving], lives)
    made = [graph]
    for best in filter(None, dict.fromkeys((behind_the_upload, _best(runs, lives)))):
        spans = [(run.first, run.end) for run in best]
        made.append(with_rows(graph, spans, arriving=best[0].arriving))
    return min(made, key=lambda each: plan_arena(each).nbytes)


def with_rows(graph: Graph, runs: Sequence[tuple[int, int]], arriving: bool = False) -> Graph:
    """`graph` with the nodes from `first` to `end` - 1 as one, for each (first, end), in order.

    Each of these nodes makes one map by rows. Nodes outside the run read only the last map. With
    `arriving`, the first run begins with the network and works on the sample while it arrives.
    """
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    done = 0
    for first, end in runs:
        sample = sample_inputs(graph)[0] if arriving and first == 0 else ""
        node, added = _rows(graph.nodes[first:end], graph, sample)
        nodes += [*graph.nodes[done:first], node]
        tensors += added
        done = end
    return graph.with_tensors(tensors).with_nodes([*nodes, *graph.nodes[done:]])


def _rows(body: Sequence[Node], graph: Graph, sample: str) -> tuple[Node, list[Tensor]]:
    """The node for a run, and the tensors it adds: its tables, and its maps as rings.

    `sample` is the sample it works on while it arrives, or "".
    """
    scratch = _scratch(body, graph)
    body = tuple(_sharing(node, scratch) for node in body)
    name = f"{body[0].name} to {body[-1].name}"
    done = turns(body, graph)
    rings = dict(done.rings)
    made: dict[tuple[int, ...], Tensor] = {}
    for output, rows in done.made.items():
        made.setdefault(rows, _table(f"<{output}.made>", rows))
    tables = list(made.values())
    if sample:
        arrives = arrival(body, graph, sample, done)
        rings[sample] = arrives.ring
        tables.append(_table(f"<{sample}.needed>", arrives.needed))
    read = dict.fromkeys(i for node in body for i in node.inputs if i and i not in done.made)
    node = Node(
        op="Rows",
        name=name,
        inputs=(*read, *(table.name for table in tables)),
        outputs=(body[-1].outputs[0], *done.rings, *(s.name for s in scratch)),
        attrs={
            "body": body,
            "maps": {held: graph.shape(held) for held in rings},
            "made": {output: made[rows].name for output, rows in done.made.items()},
            "turns": len(done.made[body[-1].outputs[0]]) - 1,
            "sample": sample,
            "needed": tables[-1].name if sample else "",
        },
    )
    held = (_ring(graph.tensor(name), rows) for name, rows in rings.items())
    return node, [*tables, *held, *scratch]


def _table(name: str, rows: tuple[int, ...]) -> Tensor:
    data: Array = np.array(rows, np.uint16)
    return Tensor(name, data.shape, Storage.FLASH, "uint16", data)


def _scratch(body: Sequence[Node], graph: Graph) -> list[Tensor]:
    """Temporary memory that the nodes of a run use in turn; [] if none needs any."""
    needed = [tensor for node in body for tensor in _for_a_moment(node, graph)]
    largest = max(needed, key=lambda tensor: tensor.nbytes, default=None)
    return [replace(largest, name=f"<{body[-1].name}.scratch>")] if largest else []


def _for_a_moment(node: Node, graph: Graph) -> list[Tensor]:
    """The outputs of a node after the first: scratch memory of the node."""
    return [graph.tensor(name) for name in node.outputs[1:] if name]


def _sharing(node: Node, scratch: Sequence[Tensor]) -> Node:
    """A node that works in the memory of `scratch`."""
    first, *others = node.outputs
    return replace(node, outputs=(first, *(scratch[0].name if name else "" for name in others)))


def _ring(tensor: Tensor, rows: int) -> Tensor:
    batch, channels, _, width = tensor.shape
    return replace(tensor, shape=(batch, channels, rows, width))


@dataclass(frozen=True)
class _Run:
    """The nodes from `first` to `end` - 1 by rows; then `live` bytes are alive.

    `arriving`: while the sample arrives, so that it is never there as a whole.
    """

    first: int
    end: int
    live: int
    arriving: bool = False


def _best(runs: Sequence[_Run], lives: _Lives) -> tuple[_Run, ...]:
    """The runs with the lowest peak; of equals a whole sample, then the fewest nodes, is best."""
    ending: dict[int, list[_Run]] = {end: [] for end in range(lives.forward + 1)}
    for run in runs:
        ending[run.end].append(run)

    peaks = [max(lives.floor, lives.upload)]  # the lowest possible up to each step
    for end in range(1, lives.forward + 1):
        found = [max(peaks[end - 1], lives.steps[end - 1])]
        for run in ending[end]:
            found.append(max(lives.floor if run.arriving else peaks[run.first], run.live))
        peaks.append(min(found))
    peak = peaks[-1]

    best = [_Choice() if lives.upload <= peak else None]  # choices up to each step within the peak
    for end in range(1, lives.forward + 1):
        options = [best[end - 1]] if lives.steps[end - 1] <= peak else []
        for run in ending[end]:
            before = _Choice() if run.arriving else best[run.first]
            if before and run.live <= peak:
                options.append(before.then(run))
        there = [option for option in options if option]
        best.append(min(there, key=_Choice.cost, default=None))
    return best[-1].runs if best[-1] else ()


@dataclass(frozen=True)
class _Choice:
    """Some runs, how many nodes are in them, and the bytes alive during each, added up."""

    runs: tuple[_Run, ...] = ()
    nodes: int = 0
    live: int = 0

    def then(self, run: _Run) -> _Choice:
        return _Choice((*self.runs, run), self.nodes + run.end - run.first, self.live + run.live)

    def cost(self) -> tuple[bool, int, int]:
        """The order of choices with the same peak: the least is the best."""
        return (any(run.arriving for run in self.runs), self.nodes, self.live)


@dataclass(frozen=True)
class _Lives:
    """Live bytes at the upload and at each step.

    carried   at each step, the bytes made before it and read at it or later
    last_use  the last step of each tensor
    forward   the number of steps that go forward
    """

    upload: int
    steps: Sequence[int]
    carried: Sequence[int]
    last_use: Mapping[str, int]
    forward: int

    @property
    def floor(self) -> int:
        """The peak of the steps after the forward ones: no run can lower it."""
        return max(self.steps[self.forward :], default=0)

    @property
    def peak(self) -> int:
        """The peak when nothing runs by rows."""
        return max(self.upload, *self.steps)

    @classmethod
    def of(cls, graph: Graph) -> _Lives:
        lifetimes = tensor_lifetimes(graph)
        blocks, within = arena_blocks(graph, lifetimes)
        upload, *steps = (nbytes for _, nbytes in live_bytes(blocks, len(graph.nodes)))
        carried = np.zeros(len(graph.nodes) + 1, np.int64)
        for block in blocks:
            tops = np.zeros_like(carried)
            for name in block.tensors:
                part = tops[lifetimes[name][0] + 1 : lifetimes[name][1] + 1]
                np.maximum(part, aligned(within[name] + graph.tensor(name).nbytes), out=part)
            carried += tops
        last_use = {name: last for name, (_, last) in lifetimes.items()}
        phases = [node.phase for node in graph.nodes]
        forward = phases.index(Phase.BACKWARD) if Phase.BACKWARD in phases else len(phases)
        return cls(upload, steps, carried[:-1].tolist(), last_use, forward)


def _runs(graph: Graph, lives: _Lives) -> Iterator[_Run]:
    """The runs that could lower the peak: they contain a step with more live bytes than the floor.

    A run at the network's beginning comes twice: the second one replaces the upload, and works on
    the sample while it arrives.
    """
    for end in range(1, lives.forward + 1):
        found = list(_starts(graph, lives, end))
        if not found:
            continue
        # The rows held of a map depend only on the nodes behind it, so the rings of the longest run
        # are also right for the shorter ones.
        done = turns(graph.nodes[found[-1].first : end], graph)
        for start in found:
            body = graph.nodes[start.first : end]
            rings = {n.outputs[0]: done.rings[n.outputs[0]] for n in body[:-1]}
            held = sum(aligned(tensor.nbytes) for tensor in _scratch(body, graph))
            live = start.least + _ring_bytes(rings, graph) + held
            if start.high and live + start.whole < lives.peak:
                yield _Run(start.first, end, live + start.whole)
            if start.sample:
                ring = arrival(body, graph, start.sample, done).ring
                live += _ring_bytes({start.sample: ring}, graph)
                if live < lives.peak:
                    yield _Run(start.first, end, live, arriving=True)


@dataclass(frozen=True)
class _Start:
    """A place where a run could begin.

    sample  the sample, if the run could work on it while it arrives, or ""
    whole   the bytes of the sample, 0 without one
    least   the bytes alive beside the run, with its last map and without the sample
    high    whether a step in it needs more than the floor
    """

    first: int
    sample: str
    whole: int
    least: int
    high: bool


def _starts(graph: Graph, lives: _Lives, end: int) -> Iterator[_Start]:
    """The starts of runs that end before `end` and could lower the peak, the shortest run first."""
    if not graph.nodes[end - 1].outputs:  # a node that follows the samples
        return
    result = graph.nodes[end - 1].outputs[0]
    for first in range(end - 1, -1, -1):
        node = graph.nodes[first]
        if not node.outputs:
            return
        inside = first == end - 1 or lives.last_use.get(node.outputs[0], end) < end
        if not inside or not can_run(node, graph):
            return
        sample = _sample(graph, graph.nodes[first:end]) if first == 0 else ""
        whole = aligned(graph.tensor(sample).nbytes) if sample else 0
        least = lives.carried[first] - whole + aligned(graph.tensor(result).nbytes)
        high = max(lives.steps[first:end]) > lives.floor
        if least < lives.peak and (high or (sample and lives.upload > lives.floor)):
            yield _Start(first, sample, whole, least, high)


def _ring_bytes(rings: Mapping[str, int], graph: Graph) -> int:
    maps = ((graph.tensor(name), rows) for name, rows in rings.items())
    return sum(aligned(whole.nbytes // whole.shape[2] * rows) for whole, rows in maps)


def can_run(node: Node, graph: Graph) -> bool:
    """Whether a node makes one map, by rows, and whatever else it makes is read by nobody."""
    if not node.outputs:
        return False
    made, *others = node.outputs
    unread = not any(graph.consumers[name] for name in others if name)
    return unread and len(graph.shape(made)) == 4 and OPERATORS[node.op].by_rows is not None


def _sample(graph: Graph, body: Sequence[Node]) -> str:
    """The sample, where the first nodes of the network can work on its rows as they arrive; or "".

    Between its rows anything may happen to parameters, so these nodes must not read any.
    """
    sample, *others = sample_inputs(graph)
    read = {name for node in body for name in node.inputs if name}
    alone = all(reader in body for reader in graph.consumers[sample])
    frozen = all(graph.tensor(name).storage in (Storage.ARENA, Storage.FLASH) for name in read)
    fits = sample in read and alone and frozen and not others and sample not in graph.outputs
    return sample if fits and len(graph.shape(sample)) == 4 else ""
