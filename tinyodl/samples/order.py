"""In which order the samples of a run are streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Position:
    """A sample's place in the stream."""

    step: int
    epoch: int
    sample: int


def order_of(count: int, epochs: int, limit: int | None, shuffle: int | None) -> Iterator[Position]:
    """The samples' places: as they are, or each epoch in a permutation of its own."""
    random = None if shuffle is None else np.random.default_rng(shuffle)
    step = 0
    for epoch in range(epochs):
        rows = np.arange(count) if random is None else random.permutation(count)
        for row in rows[:limit]:
            yield Position(step, epoch, int(row))
            step += 1
