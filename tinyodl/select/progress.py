"""How far the trials of --update auto are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` trials, and the name of the plan that is trained now, "" at the end."""

    done: int
    total: int
    name: str


OnTrial = Callable[[Progress], None]
