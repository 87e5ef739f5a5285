"""Where blocks of memory lie, so that none meets another in its lifetime, in as little as possible.

This is dynamic storage allocation, which is NP-hard, with blocks that may shrink during their life.
First they are put down greedily, in several orders and by two fits. Where that misses the peak of
live bytes, which no placement can beat, a repair and then a search follow. The search ends when
there is nothing left to try: then its best is the optimum. Otherwise it ends after a number of
steps, not of seconds, so that the same blocks always lie at the same offsets.

The search builds placements from the ground up, in the order of their offsets: every placement can
be let down until each block lies on the ground or on another, and then be built in this order, each
block on the highest of those below it. (MiniMalloc, Moffitt 2023, works in this way.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Heights = NDArray[np.int64]
Offsets = list[int]

_REPAIRS = 6_000  # rounds that move the highest block, divided by the number of blocks
_STEPS = 4_000  # blocks that each search puts down, at most
_MANY = 100  # blocks, of more than which a search puts down fewer: each takes longer
_DEEPEST = 400  # blocks, more than which no search is tried: it goes one call deeper for each
_NEVER = np.iinfo(np.int64).max // 2


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
    # Two short searches find more than a long one: what was decided first is hardly ever undone.
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
    """The gap that leaves the least room, the lowest of equals."""
    offset, best, room = 0, -1, int(_NEVER)
    for start, stop in sorted(taken):
        if offset <= start and start - offset < room:
            best, room = offset, start - offset
        offset = max(offset, stop)
    return offset if best < 0 else best


_Fit = Callable[[list[tuple[int, int]]], int]
_FITS: tuple[_Fit, ...] = (_first_fit, _best_fit)


@dataclass(frozen=True)
class _Blocks:
    """Blocks, by number.

    neighbours  for each block those that are alive together with it: (number, how far above this
                block's offset that one must begin if it lies above it, and the other way round).
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
                tuple((int(b), int(above[a, b]), int(above[b, a])) for b in np.flatnonzero(row))
                for a, row in enumerate(above)
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
        self, order: Sequence[int], fit: _Fit, before: Offsets | None = None, same: int = 0
    ) -> Offsets:
        """Each block into a gap between those that were put down before it.

        The first `same` blocks of the order lie where they lie in `before`.
        """
        offsets = [-1] * len(order)
        taken: list[list[tuple[int, int]]] = [[] for _ in order]
        for position, block in enumerate(order):
            stays = before is not None and position < same
            offset = before[block] if before and stays else fit(taken[block])
            offsets[block] = offset
            for other, up, down in self.neighbours[block]:
                if offsets[other] < 0:
                    taken[other].append((offset - down, offset + up))
        return offsets


def _peaks(heights: Heights) -> Heights:
    """Without the steps at which no block is higher than at the next one that is kept."""
    kept: list[Heights] = []
    for step in heights.T:
        if kept and (step <= kept[-1]).all():
            continue
        while kept and (kept[-1] <= step).all():
            kept.pop()
        kept.append(step)
    return np.stack(kept, axis=1)


def _repair(blocks: _Blocks, best: Offsets, order: list[int]) -> Offsets:
    """Puts a block that reaches highest down earlier, over and over; the best on the way."""
    order, offsets = list(order), best
    made = False  # whether the offsets are those of the first fit
    for _ in range(_REPAIRS // len(order)):
        if blocks.size(best) == blocks.bound:
            break
        highest = int((np.array(offsets) + blocks.tops).argmax())
        position = order.index(highest)
        earlier = max(0, position // 2 - 1)
        order.insert(earlier, order.pop(position))
        offsets = blocks.fill(order, _first_fit, offsets, earlier if made else 0)
        made = True
        best = min(best, offsets, key=blocks.size)
    return best


def _search(blocks: _Blocks, best: Offsets, preferred: Heights) -> Offsets:
    """The best placement of those built from the ground up, or `best` where none is better."""
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
    """A placement that is being built. Of blocks at one height, `preferred` says which come first.

    offsets  of the blocks that are put down
    left     the others
    steps    how many more may be put down
    """

    blocks: _Blocks
    preferred: Heights
    best: Offsets
    offsets: Heights
    left: NDArray[np.bool_]
    steps: int

    def build(self, sky: Heights, demand: Heights, ground: int) -> None:
        """Try all that can follow.

        At each step of the schedule it is built up to `sky`, and blocks of `demand` bytes are left,
        none of which comes below `ground`.
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
        """The blocks that are worth trying, with their offsets, the most promising first."""
        left = np.flatnonzero(self.left)
        alive = self.blocks.heights[left] > 0
        rest = (alive * sky).max(axis=1)  # what each would lie on
        lowest = np.maximum(rest, ground)
        under = np.where(alive, lowest[:, None], _NEVER).min(axis=0)
        if np.where(demand > 0, under + demand, sky).max() >= size:
            return []
        # A block that begins where another could end is left a gap that the other fits into. What
        # lies below the ground has had its turn: it waits until something else lifts it.
        gap = (lowest + self.blocks.tops[left]).min()
        worth = (rest >= ground) & (lowest < gap)
        order = np.lexsort((left, -self.preferred[left], lowest))
        return [(int(left[i]), int(lowest[i])) for i in order if worth[i]]
