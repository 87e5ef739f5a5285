"""Placement in the arena: no two blocks ever meet, and it is the optimum where that is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyodl.memory.placement import _best_fit, _Blocks, _first_fit, place


@st.composite
def blocks(draw, most: int, steps: int) -> np.ndarray:
    """Random heights (blocks, steps): each block alive for a while, some of them shrinking."""
    rows = []
    for _ in range(draw(st.integers(1, most))):
        first = draw(st.integers(0, steps - 1))
        life = draw(st.integers(1, steps - first))
        height = draw(st.integers(1, 60))
        shrinks_at = draw(st.integers(1, life))
        low = draw(st.integers(1, height))
        own = [height if step < shrinks_at else low for step in range(life)]
        rows.append([0] * first + own + [0] * (steps - first - life))
    return np.array(rows)


def size(heights: np.ndarray, offsets: list[int]) -> int:
    return max(o + row.max() for o, row in zip(offsets, heights, strict=True))


def meet(heights: np.ndarray, offsets: list[int], a: int, b: int) -> bool:
    """Whether two blocks have a byte in common at a step at which both are alive."""
    return any(
        x and y and offsets[a] < offsets[b] + y and offsets[b] < offsets[a] + x
        for x, y in zip(heights[a], heights[b], strict=True)
    )


def optimum(heights: np.ndarray) -> int:
    """The smallest arena, by exhaustion.

    Let down, a placement has each block on the ground or on another one; put down in the order of
    their offsets, each lies on the highest of those before it that are ever alive with it.
    """
    best = int(heights.max(axis=1).sum())
    for order in itertools.permutations(range(len(heights))):
        sky = np.zeros(heights.shape[1], np.int64)
        for block in order:
            alive = heights[block] > 0
            sky = np.where(alive, sky[alive].max() + heights[block], sky)
        best = min(best, int(sky.max()))
    return best


@settings(max_examples=50, deadline=None)
@given(heights=blocks(most=20, steps=12))
def test_no_two_blocks_meet(heights):
    offsets = place(heights)
    assert all(offset >= 0 for offset in offsets)
    pairs = itertools.combinations(range(len(heights)), 2)
    assert not any(meet(heights, offsets, a, b) for a, b in pairs)
    assert offsets == place(heights), "the same blocks, another placement"


@settings(max_examples=60, deadline=None)
@given(heights=blocks(most=6, steps=5))
def test_few_blocks_are_placed_in_the_optimum(heights):
    assert size(heights, place(heights)) == optimum(heights)


def test_the_search_finds_what_every_order_of_filling_in_misses():
    """A staircase: each of the long blocks has to leave the ground to the next one."""
    heights = np.array(
        [
            [2, 0, 0, 0, 0, 0],
            [0, 1, 1, 0, 0, 0],
            [1, 1, 1, 1, 1, 0],
            [0, 0, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 2],
        ]
    )
    assert size(heights, place(heights)) == 3


def test_a_block_moves_in_where_another_has_shrunk():
    heights = np.array([[8, 8, 2, 2], [0, 0, 6, 6]])
    assert size(heights, place(heights)) == 8


@pytest.mark.parametrize("fit", [_first_fit, _best_fit])
@pytest.mark.parametrize("seed", range(20))
def test_a_fill_that_places_only_what_moved_is_that_from_scratch(seed, fit):
    random = np.random.default_rng(seed)
    count, steps = int(random.integers(2, 25)), int(random.integers(2, 12))
    heights = np.zeros((count, steps), np.int64)
    for own in heights:
        begin = int(random.integers(0, steps))
        own[begin : begin + int(random.integers(1, steps + 1))] = random.integers(1, 40)
    blocks = _Blocks.of(heights)
    order = random.permutation(count).tolist()
    offsets = blocks.fill(order, fit)
    for _ in range(10):
        position = int(random.integers(0, count))
        earlier = int(random.integers(0, position + 1))
        order.insert(earlier, order.pop(position))
        offsets = blocks.fill(order, fit, offsets, earlier)
        assert offsets == blocks.fill(order, fit)
