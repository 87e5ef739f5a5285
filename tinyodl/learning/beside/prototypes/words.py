"""The words for people on prototypes."""

from __future__ import annotations

from tinyodl.learning.beside.prototypes.section import Prototypes
from tinyodl.learning.beside.record import Words
from tinyodl.project.plan import UpdatePlan


def _clause(plan: UpdatePlan) -> str:
    shots = Prototypes.on(plan).shots
    first = "sample" if shots == 1 else f"{shots} samples"
    return f"makes a prototype of the first {first} of each label, then learns"


WORDS = Words(_clause)
