"""Lifetimes over forward, backward and update together -> offsets in one static arena.

Tensors that share memory form a `Block`: a view and its base tensor, an in-place output and the
input it overwrites, and all inputs of a model with several, side by side. At each step a block
takes the bytes of its live tensors, so it may shrink. Blocks alive at the same time must not
overlap; `placement` finds their offsets. The lower bound is the peak of live bytes: no placement of
these blocks can be smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinyodl.graph import Graph, Storage
from tinyodl.learning.tensors import sample_inputs
from tinyodl.memory.placement import place
from tinyodl.ops import OPERATORS, in_place_of
from tinyodl.ops.rows import arriving

ALIGNMENT = 8  # bytes; enough for any element type and for double-word loads
UPLOAD = -1  # the step before the schedule: the sample arrives


@dataclass(frozen=True)
class Block:
    """A stretch of the arena: `heights` are its bytes from its offset on, from step `first` on."""

    tensors: tuple[str, ...]
    first: int
    heights: tuple[int, ...]

    @property
    def last(self) -> int:
        """The block's last step alive."""
        return self.first + len(self.heights) - 1

    @property
    def nbytes(self) -> int:
        """The block's bytes at its largest."""
        return max(self.heights)


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

    Inputs are alive from the upload on; outputs stay alive to the end, to be read after the step.
    If the lower bound is missed, a second try gives in-place outputs blocks of their own where
    there is room for input and output: smaller blocks are easier to place.
    """
    return graph.remember("<arena>", lambda: _planned(graph))


def _planned(graph: Graph) -> ArenaPlan:
    lifetimes = tensor_lifetimes(graph)
    plan = _placed(graph, lifetimes)
    if plan.nbytes == plan.lower_bound:
        return plan
    live = live_bytes(plan.blocks, len(graph.nodes))
    apart = _placed(graph, lifetimes, {step: plan.lower_bound - nbytes for step, nbytes in live})
    return min(plan, apart, key=lambda each: each.nbytes)


def _placed(
    graph: Graph,
    lifetimes: Mapping[str, tuple[int, int]],
    room: Mapping[int, int] | None = None,
) -> ArenaPlan:
    blocks, within = arena_blocks(graph, lifetimes, room)
    heights = np.zeros((len(blocks), len(graph.nodes) + 2), np.int64)
    for row, block in zip(heights, blocks, strict=True):
        row[block.first - UPLOAD : block.last - UPLOAD + 1] = block.heights
    offsets = place(heights)
    return ArenaPlan(
        blocks=blocks,
        offsets={
            name: offset + within[name]
            for block, offset in zip(blocks, offsets, strict=True)
            for name in block.tensors
        },
        lifetimes=lifetimes,
        nbytes=max((o + b.nbytes for b, o in zip(blocks, offsets, strict=True)), default=0),
        lower_bound=max(live for _, live in live_bytes(blocks, len(graph.nodes))),
    )


def tensor_lifetimes(graph: Graph) -> dict[str, tuple[int, int]]:
    """First and last step of each arena tensor. A view has a lifetime of its own.

    A node that works on the arriving sample runs in the step before the schedule.
    """
    early = arriving(graph)
    first = dict.fromkeys((*graph.inputs, *(early.outputs if early else ())), UPLOAD)
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
    live = np.zeros(steps + 2, np.int64)
    for block in blocks:
        alone = len(block.tensors) == 1  # then it is as high at all steps
        heights = block.heights[0] if alone else block.heights
        live[block.first - UPLOAD : block.last - UPLOAD + 1] += heights
    return list(enumerate(live.tolist(), UPLOAD))


def arena_blocks(
    graph: Graph,
    lifetimes: Mapping[str, tuple[int, int]],
    room: Mapping[int, int] | None = None,
) -> tuple[tuple[Block, ...], Mapping[str, int]]:
    """The blocks in the order of their first steps, and the offset of each tensor in its block.

    Inputs lie side by side, each at a multiple of its element's size. Views are merged with their
    base tensors, then in-place outputs with the inputs they overwrite. Without `room`, every
    possible output is merged. With `room` (free bytes per step), only outputs too large for it.
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
        side_by_side += -side_by_side % graph.tensor(name).itemsize
        merge(first, name, side_by_side)
        side_by_side += graph.tensor(name).nbytes
    for node in graph.nodes:
        if OPERATORS[node.op].call is None:
            merge(node.inputs[0], node.outputs[0])
    for step, node in enumerate(graph.nodes):
        slots = in_place_of(node, graph)
        if slots and room and aligned(graph.tensor(node.outputs[0]).nbytes) <= room[step]:
            continue
        for slot in slots:
            taken = node.inputs[slot]
            if taken not in home:
                continue
            fits = graph.tensor(node.outputs[0]).nbytes <= graph.tensor(taken).nbytes
            free = home[taken] != home[node.outputs[0]]
            if fits and free and end(taken) == step and begin(node.outputs[0]) == step:
                merge(taken, node.outputs[0])
                break
    blocks = (_block(graph, tuple(names), within, lifetimes) for names in members.values())
    return tuple(sorted(blocks, key=lambda b: (b.first, b.tensors))), within


def _block(
    graph: Graph,
    names: tuple[str, ...],
    within: Mapping[str, int],
    lifetimes: Mapping[str, tuple[int, int]],
) -> Block:
    """The block of these tensors, which share memory."""
    if len(names) == 1:
        first, last = lifetimes[names[0]]
        height = aligned(within[names[0]] + graph.tensor(names[0]).nbytes)
        return Block(names, first, (height,) * (last - first + 1))
    first = min(lifetimes[name][0] for name in names)
    last = max(lifetimes[name][1] for name in names)
    heights = np.zeros(last - first + 1, np.int64)
    for name in names:
        part = heights[lifetimes[name][0] - first : lifetimes[name][1] - first + 1]
        np.maximum(part, aligned(within[name] + graph.tensor(name).nbytes), out=part)
    return Block(names, first, tuple(heights.tolist()))


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
