"""What a board has executed."""

from __future__ import annotations

from dataclasses import dataclass

PHASES = ("idle", "forward", "backward", "update")


@dataclass(frozen=True)
class Count:
    """Executed instructions (exact) and modelled M4 cycles."""

    instructions: int = 0
    cycles: int = 0
