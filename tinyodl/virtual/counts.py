"""Counts of a board's execution."""

from __future__ import annotations

from dataclasses import dataclass

PHASES = ("idle", "forward", "backward", "update")


@dataclass(frozen=True)
class Count:
    """Executed instructions (exact) and modelled cycles; 0 where there is no model of them."""

    instructions: int = 0
    cycles: int = 0

    def share_of(self, whole: Count) -> float:
        """The share of the cycles; without a model of them, of the instructions."""
        if whole.cycles:
            return self.cycles / whole.cycles
        return self.instructions / whole.instructions

    def __add__(self, other: Count) -> Count:
        return Count(self.instructions + other.instructions, self.cycles + other.cycles)

    def __sub__(self, other: Count) -> Count:
        return Count(self.instructions - other.instructions, self.cycles - other.cycles)
