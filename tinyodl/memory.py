"""Lifetimes over forward, backward and update together -> offsets in one static arena.

Tensors that share memory form a `Block`: a view and what it looks at, an in-place output with the
input it takes over, and the inputs of a model that has several, side by side. Blocks that are alive
at the same time must not overlap. Placement is greedy (each block at the lowest offset that is free
for its whole life), in the best of several orders, improved by a search. The lower bound is the
peak of live bytes: no placement of these blocks can be smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tinyodl.graph import Graph, Storage
from tinyodl.ops import OPERATORS, in_place_of
from tinyodl.training import sample_inputs

ALIGNMENT = 8  # bytes; enough for any element type and for double-word loads
UPLOAD = -1  # the step before the schedule, in which the sample arrives


@dataclass(frozen=True)
class Block:
    """A stretch of the arena: `nbytes` alive from step `first` to step `last`, both included."""

    tensors: tuple[str, ...]
    nbytes: int
    first: int
    last: int

    def overlaps(self, other: Block) -> bool:
        """Whether both are alive at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class ArenaPlan:
    """Offsets of the blocks in an arena of `nbytes`; `lower_bound` is the peak of live bytes."""

    blocks: tuple[Block, ...]
    offsets: Mapping[str, int]  # by tensor
    lifetimes: Mapping[str, tuple[int, int]]  # first and last step, by tensor
    nbytes: int
    lower_bound: int


def plan_arena(graph: Graph) -> ArenaPlan:
    """Place every arena tensor of `graph`, whose nodes are in execution order.

    Inputs are alive from the upload on; outputs stay alive to the end, so that they can be read
    after the step.
    """
    lifetimes = tensor_lifetimes(graph)
    blocks, within = _blocks(graph, lifetimes)
    bound = max((live for _, live in live_bytes(blocks, len(graph.nodes))), default=0)
    placed = _best_placement(blocks, bound)
    return ArenaPlan(
        blocks=tuple(sorted(blocks, key=lambda b: (b.first, b.tensors))),
        offsets={
            name: offset + within[name]
            for block, offset in placed.items()
            for name in block.tensors
        },
        lifetimes=lifetimes,
        nbytes=_size(placed),
        lower_bound=bound,
    )


def tensor_lifetimes(graph: Graph) -> dict[str, tuple[int, int]]:
    """First and last step of each arena tensor, by itself: views count as uses of their own."""
    first = dict.fromkeys(graph.inputs, UPLOAD)
    last = dict(first)
    for step, node in enumerate(graph.nodes):
        for name in (*node.inputs, *node.outputs):
            if name and graph.tensor(name).storage is Storage.ARENA:
                first.setdefault(name, step)
                last[name] = step
    for name in graph.outputs:
        last[name] = len(graph.nodes)
    return {name: (first[name], last[name]) for name in first}


def live_bytes(blocks: tuple[Block, ...], steps: int) -> list[tuple[int, int]]:
    """Bytes alive at each step, from the upload to the end."""
    return [
        (step, sum(block.nbytes for block in blocks if block.first <= step <= block.last))
        for step in range(UPLOAD, steps + 1)
    ]


def _blocks(
    graph: Graph, lifetimes: Mapping[str, tuple[int, int]]
) -> tuple[tuple[Block, ...], Mapping[str, int]]:
    """The blocks, and the offset of each tensor within its own.

    Inputs lie side by side; views are merged with what they look at, then in-place outputs with the
    input they take over.
    """
    home: dict[str, str] = {name: name for name in lifetimes}
    members: dict[str, list[str]] = {name: [name] for name in lifetimes}
    within = dict.fromkeys(lifetimes, 0)

    def merge(over: str, name: str, offset: int = 0) -> None:
        """Put the block that begins with `name` over `over`, or `offset` bytes behind its start."""
        for member in members.pop(home[name]):
            home[member] = home[over]
            members[home[over]].append(member)
            within[member] += within[over] + offset

    def end(name: str) -> int:
        return max(lifetimes[member][1] for member in members[home[name]])

    def begin(name: str) -> int:
        return min(lifetimes[member][0] for member in members[home[name]])

    first, *others = sample_inputs(graph)
    side_by_side = graph.tensor(first).nbytes
    for name in others:
        merge(first, name, side_by_side)
        side_by_side += graph.tensor(name).nbytes
    for node in graph.nodes:
        if OPERATORS[node.op].call is None:
            merge(node.inputs[0], node.outputs[0])
    for step, node in enumerate(graph.nodes):
        for slot in in_place_of(node, graph):
            taken = node.inputs[slot]
            if taken not in home:
                continue
            fits = graph.tensor(node.outputs[0]).nbytes <= graph.tensor(taken).nbytes
            free = home[taken] != home[node.outputs[0]]
            if fits and free and end(taken) == step and begin(node.outputs[0]) == step:
                merge(taken, node.outputs[0])
                break
    blocks = tuple(
        Block(
            tensors=tuple(names),
            nbytes=_aligned(max(within[name] + graph.tensor(name).nbytes for name in names)),
            first=min(lifetimes[name][0] for name in names),
            last=max(lifetimes[name][1] for name in names),
        )
        for names in members.values()
    )
    return blocks, within


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


_ORDERS: tuple[Callable[[Block], tuple[object, ...]], ...] = (
    lambda b: (-b.nbytes, b.first, b.tensors),
    lambda b: (b.first - b.last, -b.nbytes, b.tensors),
    lambda b: (-b.nbytes * (b.last - b.first + 1), b.first, b.tensors),
    lambda b: (b.first, -b.nbytes, b.tensors),
    lambda b: (-b.last, -b.nbytes, b.tensors),
)


# Rounds of the search that follows the fixed orders, where those miss the lower bound.
_ROUNDS = 200


def _best_placement(blocks: tuple[Block, ...], bound: int) -> dict[Block, int]:
    """The smallest placement found: of the fixed orders, then of a search from the best of them.

    The search puts a block that reaches highest before the one it stands on, over and over, and
    remembers the best placement on the way. It ends where the lower bound is met.
    """
    orders = [sorted(blocks, key=order) for order in _ORDERS]
    order = min(orders, key=lambda candidate: _size(_place(candidate)))
    best = placed = _place(order)
    for _ in range(_ROUNDS):
        if _size(best) <= bound:
            break
        highest = max(placed, key=lambda block: (placed[block] + block.nbytes, block.tensors))
        position = order.index(highest)
        order.insert(max(0, position // 2 - 1), order.pop(position))
        placed = _place(order)
        if _size(placed) < _size(best):
            best = placed
    return best


def _size(placed: Mapping[Block, int]) -> int:
    return max((offset + block.nbytes for block, offset in placed.items()), default=0)


def _place(blocks: list[Block]) -> dict[Block, int]:
    """Each block at the lowest offset where it meets none of those placed before it."""
    placed: dict[Block, int] = {}
    for block in blocks:
        offset = 0
        neighbours = sorted(
            (placed[other], placed[other] + other.nbytes)
            for other in placed
            if other.overlaps(block)
        )
        for start, stop in neighbours:
            if offset + block.nbytes <= start:
                break
            offset = max(offset, stop)
        placed[block] = offset
    return placed
