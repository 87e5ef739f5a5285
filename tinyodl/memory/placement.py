"""Offsets of memory blocks: blocks alive together never overlap, in as little memory as possible.

This is dynamic storage allocation, an NP-hard problem, with blocks that may shrink during their
life. First the blocks are placed greedily, in several orders and by two fits. No placement can beat
the peak of live bytes. If the greedy ones miss it, a repair and then a search follow. If the search
runs out of placements to try, its best is the optimum. Otherwise it ends after a number of steps,
not of seconds, so that the same blocks always lie at the same offsets.

The search builds placements from the ground up, in the order of their offsets. This loses nothing:
in any placement the blocks can be let down until each lies on the ground or on another block, and
the result can be built in this order. (MiniMalloc, Moffitt 2023, works in this way.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Heights = NDArray[np.int64]
Offsets = list[int]

_REPAIRS = 6_000  # rounds that move the highest block, divided by the number of blocks
_STEPS = 4_000  # the most blocks that each search puts down
_MANY = 100  # with more blocks than these a search puts down fewer: each takes longer
_DEEPEST = 400  # with more blocks than these there is no search: it recurses once for each block
_NEVER = np.iinfo(np.int64).max // 2
_NOWHERE = -1  # the offset of a block that is not placed


def place(heights: Heights) -> Offsets:
    """The offset of each block.

    `heights` (blocks, steps): how many bytes a block takes from its offset on, at each step; 0
    where it is not alive.
    """
    if not heights.size:
        return [0] * len(heights)
    blocks = _Blocks.of(heights)
    filled: list[tuple[Offsets, list[int]]] = []
    for order, fit in ((order, fit) for order in blocks.orders() for fit in _FITS):
        filled.append((blocks.fill(order, fit), order))
        if blocks.size(filled[-1][0]) == blocks.bound:
            break
    best, order = min(filled, key=lambda made: blocks.size(made[0]))
    best = _repair(blocks, best, order)
    # Two short searches find more than a long one: a search hardly ever undoes its first choices.
    for preferred in (blocks.life, blocks.area):
        best = _search(blocks, best, preferred)
    return best


def _first_fit(taken: list[tuple[int, int]]) -> int:
    """The lowest of the gaps between intervals, of which the ends are free."""
    offset = 0
    for start, stop in sorted(taken):
        if offset <= start:
            break
        if stop > offset:
            offset = stop
    return offset


def _best_fit(taken: list[tuple[int, int]]) -> int:
    """The lowest of the gaps that leave the least room."""
    offset, best, room = 0, -1, int(_NEVER)
    for start, stop in sorted(taken):
        if offset <= start and start - offset < room:
            best, room = offset, start - offset
        if stop > offset:
            offset = stop
    return offset if best < 0 else best


_Fit = Callable[[list[tuple[int, int]]], int]
_FITS: tuple[_Fit, ...] = (_first_fit, _best_fit)


@dataclass(frozen=True)
class _Blocks:
    """Blocks, by number.

    neighbours  for each block its neighbours in time, the blocks alive together with it: (number,
                least distance of the offsets if the neighbour lies above, and if it lies below).
    bound       the peak of live bytes.
    """

    heights: Heights
    neighbours: tuple[tuple[tuple[int, int, int], ...], ...]
    tops: Heights  # the largest height of each block
    area: Heights  # bytes times steps
    life: Heights  # steps
    begin: Heights  # the first step
    bound: int

    @classmethod
    def of(cls, heights: Heights) -> _Blocks:
        heights = _peaks(heights)
        alive = heights > 0
        above = np.stack([(own * alive).max(axis=1) for own in heights])
        np.fill_diagonal(above, 0)
        return cls(
            heights=heights,
            neighbours=tuple(
                tuple((b, up, down) for b, (up, down) in enumerate(both) if up)
                for both in np.stack([above, above.T], axis=2).tolist()
            ),
            tops=heights.max(axis=1),
            area=heights.sum(axis=1),
            life=alive.sum(axis=1),
            begin=alive.argmax(axis=1),
            bound=int(heights.sum(axis=0).max()),
        )

    def size(self, offsets: Offsets) -> int:
        """Bytes of the arena."""
        return int((np.array(offsets) + self.tops).max())

    def orders(self) -> list[list[int]]:
        """Largest, longest, largest for longest, earliest and latest first."""
        end = self.begin + self.life
        keys = (
            (self.begin, -self.tops),
            (-self.tops, -self.life),
            (self.begin, -self.area),
            (-self.tops, self.begin),
            (-self.tops, -end),
        )
        return [np.lexsort(key).tolist() for key in keys]

    def fill(
        self, order: Sequence[int], fit: _Fit, before: Offsets | None = None, moved: int = 0
    ) -> Offsets:
        """The offsets when each block in turn goes into a gap between those already placed.

        `before` are the offsets by the same fit when the block at position `moved` of the order
        came later in it. Then a block is placed anew only if one of its neighbours moved.
        """
        was = [_NOWHERE] * len(order) if before is None else list(before)
        was[order[moved]] = _NOWHERE
        anew = {block for block in order if was[block] == _NOWHERE}
        offsets = [_NOWHERE] * len(order)
        for block in order[:moved]:
            offsets[block] = was[block]
        for block in order[moved:]:
            offsets[block] = was[block]
            if block not in anew:
                continue
            near = self.neighbours[block]
            offsets[block] = fit(
                [(at - up, at + down) for b, up, down in near if (at := offsets[b]) != _NOWHERE]
            )
            if offsets[block] != was[block]:
                anew.update(b for b, _, _ in near)
        return offsets


def _peaks(heights: Heights) -> Heights:
    """The heights without redundant steps: no block is higher there than at a kept neighbour."""
    kept: list[Heights] = []
    for step in heights.T:
        if kept and (step <= kept[-1]).all():
            continue
        while kept and (kept[-1] <= step).all():
            kept.pop()
        kept.append(step)
    return np.stack(kept, axis=1)


def _repair(blocks: _Blocks, best: Offsets, order: list[int]) -> Offsets:
    """The best placement found by placing the highest-reaching block earlier, over and over."""
    order, offsets = list(order), best
    made = False  # whether the offsets are those of the first fit
    for _ in range(_REPAIRS // len(order)):
        if blocks.size(best) == blocks.bound:
            break
        highest = int((np.array(offsets) + blocks.tops).argmax())
        position = order.index(highest)
        earlier = max(0, position // 2 - 1)
        order.insert(earlier, order.pop(position))
        offsets = blocks.fill(order, _first_fit, offsets if made else None, earlier if made else 0)
        made = True
        best = min(best, offsets, key=blocks.size)
    return best


def _search(blocks: _Blocks, best: Offsets, preferred: Heights) -> Offsets:
    """The best placement built from the ground up, or `best` if none is better."""
    count = len(blocks.heights)
    if blocks.size(best) == blocks.bound or count > _DEEPEST:
        return best
    nothing, every = np.zeros(count, np.int64), np.ones(count, bool)
    steps = _STEPS * _MANY // max(_MANY, count)
    search = _Search(blocks, preferred, best, nothing, every, steps)
    search.build(np.zeros_like(blocks.heights[0]), blocks.heights.sum(axis=0), 0)
    return search.best


@dataclass
class _Search:
    """A placement under construction. Blocks at one height come in the order of `preferred`.

    offsets  of the placed blocks
    left     the blocks to place
    steps    how many more blocks the search may place
    """

    blocks: _Blocks
    preferred: Heights
    best: Offsets
    offsets: Heights
    left: NDArray[np.bool_]
    steps: int

    def build(self, sky: Heights, demand: Heights, ground: int) -> None:
        """Try all ways to complete the placement.

        At each step of the schedule it is built up to `sky`, and the blocks left take `demand`
        bytes. None of them may lie below `ground`.
        """
        size = self.blocks.size(self.best)
        if not self.left.any():
            if self.blocks.size(self.offsets.tolist()) < size:
                self.best = self.offsets.tolist()
            return
        for block, offset in self._next(sky, demand, ground, size):
            if self.steps == 0 or self.blocks.size(self.best) == self.blocks.bound:
                return
            self.steps -= 1
            own = self.blocks.heights[block]
            self.offsets[block], self.left[block] = offset, False
            self.build(np.where(own > 0, offset + own, sky), demand - own, offset)
            self.left[block] = True

    def _next(self, sky: Heights, demand: Heights, ground: int, size: int) -> list[tuple[int, int]]:
        """The blocks worth trying, with their offsets, the most promising first."""
        left = np.flatnonzero(self.left)
        alive = self.blocks.heights[left] > 0
        rest = (alive * sky).max(axis=1)  # the height each would lie on
        lowest = np.maximum(rest, ground)
        under = np.where(alive, lowest[:, None], _NEVER).min(axis=0)
        if np.where(demand > 0, under + demand, sky).max() >= size:
            return []
        # A block is not worth trying at or above the lowest possible end of another: the other fits
        # below it first. Blocks below the ground have had their turn: they wait to be lifted.
        gap = (lowest + self.blocks.tops[left]).min()
        worth = (rest >= ground) & (lowest < gap)
        order = np.lexsort((left, -self.preferred[left], lowest))
        return [(int(left[i]), int(lowest[i])) for i in order if worth[i]]
