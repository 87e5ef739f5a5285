"""How far a session is, as it is told while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tinyodl.runs.record import Event

Stage = Literal["before", "learning", "after"]


@dataclass(frozen=True)
class Progress:
    """Where a session is: `done` of `total` samples of a stage, with the share right so far.

    `event` is what happened since it was told last: a save, a line that came back. `note` is a
    sentence about what comes now, for people.
    """

    stage: Stage
    done: int
    total: int
    accuracy: float | None
    event: Event | None = None
    note: str | None = None


OnProgress = Callable[[Progress], None]
