"""The plan's section [drift], and the option that turns it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tinyodl.learning.beside.section import Section
from tinyodl.project.option import Option


def _wanted(value: object) -> Mapping[str, object] | None:
    if not isinstance(value, bool):
        raise ValueError("give true or false")
    return {} if value else None


class Drift(Section):
    """The board watches for samples unlike the learned ones. This section has no fields."""

    NAME: ClassVar = "drift"
    CALLED: ClassVar = "drift"
    PURPOSE: ClassVar = "is for class labels"
    NOT_FOR_LOSSES: ClassVar = frozenset({"mse"})
    COMPARES_CLASSES: ClassVar = True
    OPTIONS: ClassVar = (
        Option(
            "drift", kind=bool, gives=True, group="Beside learning",
            section="drift", switch=True, fills=_wanted,
            help="Watch for samples that are other than those learned, class by class.",
        ),
    )  # fmt: skip


SECTION = Drift
