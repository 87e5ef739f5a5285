"""How a run learns: the options of `tinyodl stream-train` and `Session.train`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from tinyodl.errors import UserError
from tinyodl.runs.record import Radio
from tinyodl.runs.replaying import DRAWS, Order

Keep = Literal["unharmed", "always"]  # which weights a run may save at its end


@dataclass(frozen=True)
class RunOptions:
    """The options of a run; `Session.train` says what each of them does.

    Raises UserError for a value out of its range.
    """

    epochs: int = 1
    limit: int | None = None
    shuffle: int | None = None
    learning_rate: float | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    query: bool = False
    teacher: str | Path | None = None
    silent: bool = False
    draw: Order = "epochs"
    keep_outliers: bool = False
    radio: Radio | None = None
    save: Keep = "unharmed"
    save_every: int | None = None
    resume: Path | None = None

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "limit": self.limit, "save_every": self.save_every}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}, needed is at least 1")
        if self.draw not in DRAWS:
            raise UserError(f"draw is {self.draw!r}: give {', '.join(DRAWS)}")
        if self.save not in get_args(Keep):
            raise UserError(f"save is {self.save!r}: give {', '.join(get_args(Keep))}")
        if self.shuffle is not None and self.shuffle < 0:
            raise UserError(f"shuffle is {self.shuffle}, a seed is not negative")
