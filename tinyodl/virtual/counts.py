"""What a board has executed."""

from __future__ import annotations

from dataclasses import dataclass

PHASES = ("idle", "forward", "backward", "update")


@dataclass(frozen=True)
class Count:
    """Executed instructions (exact) and modelled M4 cycles."""

    instructions: int = 0
    cycles: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.instructions + other.instructions, self.cycles + other.cycles)

    def __sub__(self, other: Count) -> Count:
        return Count(self.instructions - other.instructions, self.cycles - other.cycles)
