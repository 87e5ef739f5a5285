"""The plan's section [guard], and the options that fill it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tinyodl.learning.beside.section import Section
from tinyodl.project.option import Option

_FORM = re.compile(r"([1-9]\d{0,4})(?::(0?\.\d+|[01](?:\.0*)?))?")
_GROUP = "Beside learning"


def _written(text: object) -> Mapping[str, object]:
    """The fields of "K" or "K:MARGIN"."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise ValueError("give a number of samples, with a margin if you like, such as 20 or "
                         "20:0.1")  # fmt: skip
    every = {"every": int(found[1])}
    return {**every, "margin": float(found[2])} if found[2] else every


class Guard(Section):
    """Every `every`-th labelled sample is held back, and no weight learns from it.

    The guard keeps the best parameters so far in `memory`. It goes back to them when the network
    has become worse on the held-back samples by more than `margin`, a share of them.
    """

    every: int = Field(le=65536)
    margin: float = Field(default=0.1, ge=0, le=1)
    memory: Literal["ram", "flash"] = "ram"

    NAME: ClassVar = "guard"
    CALLED: ClassVar = "a guard"
    PURPOSE: ClassVar = "is for class labels"
    NOT_FOR_LOSSES: ClassVar = frozenset({"mse", "reconstruction", "reconstruction-cross-entropy"})
    COMPARES_CLASSES: ClassVar = True
    OPTIONS: ClassVar = (
        Option(
            "guard", example="20:0.1", metavar="K[:MARGIN]", kind=str, group=_GROUP,
            section="guard", switch=True, fills=_written,
            help="Hold every K-th labelled sample back to test on, and undo what makes "
            "the network worse by more than MARGIN (0.1).",
        ),
        Option(
            "guard_memory", group=_GROUP, section="guard", field="memory",
            help="Where the guard keeps the best parameters.",
        ),
    )  # fmt: skip

    @property
    def not_stored(self) -> str:
        if self.memory == "ram":
            return ""
        return (
            "the guard keeps its best parameters in flash, of which the store has no copy "
            "(--guard-memory ram has one)"
        )

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.every < 2:
            raise ValueError(f"every {self.every} would hold every sample back; give at least 2")
        return self


SECTION = Guard
