"""The plan's section [counts], and the options that fill it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from tinyodl.learning.beside.section import Section
from tinyodl.project.option import Option

_GROUP = "Beside learning"


def _wanted(value: object) -> Mapping[str, object] | None:
    if not isinstance(value, bool):
        raise ValueError("give true or false")
    return {} if value else None


class Counts(Section):
    """The board counts its predictions of classes by label, and the share of right ones.

    In this share each prediction counts `fading` times as much after the next one.
    """

    fading: float = Field(default=0.99, gt=0, le=1)

    NAME: ClassVar = "counts"
    CALLED: ClassVar = "metrics"
    PURPOSE: ClassVar = "are of class labels"
    NOT_FOR_LOSSES: ClassVar = frozenset({"mse", "reconstruction", "reconstruction-cross-entropy"})
    COMPARES_CLASSES: ClassVar = True
    OPTIONS: ClassVar = (
        Option(
            "metrics", kind=bool, gives=True, group=_GROUP,
            section="counts", switch=True, fills=_wanted,
            help="Let the device count by label what it predicts, and how often right.",
        ),
        Option(
            "fading", group=_GROUP, section="counts", field="fading",
            help="How much less a prediction counts in that share with the next.",
        ),
    )  # fmt: skip


SECTION = Counts
