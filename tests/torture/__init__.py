"""What tinyodl is put through on purpose: each module here is a subject of its own.

A subject has `WHAT`, a sentence that says what is tried and what must hold, and `trials(seed)`: an
endless generator that makes one trial for each `next` and yields (row, None) when it held, or
(row, what went wrong). Rows are those of the table in `docs/reliability.md`. The gate makes a few
trials of each subject; `python -m tests.torture` makes as many as there is time for.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, cast

Outcome = tuple[str, str | None]


class Subject(Protocol):
    """A module of this package."""

    WHAT: str

    def trials(self, seed: int) -> Iterator[Outcome]: ...


def subjects() -> dict[str, Subject]:
    """All subjects by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {
        name: cast(Subject, import_module(f"{__name__}.{name}"))
        for name in names
        if not name.startswith("_")
    }
