"""Features: what a board computes beside learning, each in a folder of its own.

They are in the order of their settings in the protocol.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyodl.learning.beside.record import Feature, Words
    from tinyodl.learning.beside.section import Section
    from tinyodl.project.plan import UpdatePlan

FOLDER = Path(__file__).parent
NAMES = (
    "cache",
    "query",
    "drift",
    "guard",
    "counts",
    "prototypes",
)


@cache
def sections() -> dict[str, type[Section]]:
    """The class of each feature's section of the plan, by the feature's name."""
    return {name: import_module(f"{__name__}.{name}.section").SECTION for name in NAMES}


@cache
def features() -> tuple[Feature, ...]:
    """All features. Loading them also adds their operators to the table."""
    modules = (import_module(f"{__name__}.{name}.feature") for name in NAMES)
    return tuple(module.FEATURE for module in modules)


def wanted(plan: UpdatePlan) -> tuple[Feature, ...]:
    """The features of a plan."""
    return tuple(feature for feature in features() if feature.name in plan.beside)


@cache
def words() -> dict[str, Words]:
    """The lines for people from each feature that has some."""
    there = [name for name in NAMES if (FOLDER / name / "words.py").exists()]
    return {name: import_module(f"{__name__}.{name}.words").WORDS for name in there}
