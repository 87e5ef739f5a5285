"""The plan's section [query], and the options that fill it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tinyodl.learning.beside.section import Section
from tinyodl.project.option import Option

_FORM = re.compile(r"auto|always|margin:(\d+(?:\.\d*)?|\.\d+)")
_GROUP = "Beside learning"


def _written(text: object) -> Mapping[str, object]:
    """The fields of "auto", "always" or "margin:T"."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise ValueError("give auto, always or margin:T, such as margin:0.2")
    return {"ask": "margin", "margin": float(found[1])} if found[1] else {"ask": found[0]}


class Query(Section):
    """When the board asks for a label.

    `ask` "always": for each sample. "margin": if the two best scores differ by less than `margin`.
    "auto": as often as needed to keep wrong answers at or below the share `error_budget` of the
    unchecked ones.
    """

    ask: Literal["auto", "always", "margin"]
    margin: float | None = Field(default=None, ge=0)
    error_budget: float = Field(default=0.01, gt=0, lt=1)

    NAME: ClassVar = "query"
    CALLED: ClassVar = "query"
    PURPOSE: ClassVar = "is for class labels"
    NOT_FOR_LOSSES: ClassVar = frozenset({"mse", "reconstruction", "reconstruction-cross-entropy"})
    COMPARES_CLASSES: ClassVar = True
    OPTIONS: ClassVar = (
        Option(
            "query", example="auto", metavar="WHEN", kind=str, group=_GROUP,
            section="query", switch=True, fills=_written, note="it is trained with all",
            help="The board says which labels it wants: always, margin:T (those of margins below "
            "T), or auto (as many as keep to --error-budget).",
        ),
        Option(
            "error_budget", metavar="SHARE", group=_GROUP, section="query", field="error_budget",
            help="Of --query auto: how many of the answers that nobody checks may be wrong.",
        ),
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_margin(self) -> Self:
        if (self.ask == "margin") != (self.margin is not None):
            raise ValueError('margin goes with ask = "margin": give both, or neither')
        return self


SECTION = Query
