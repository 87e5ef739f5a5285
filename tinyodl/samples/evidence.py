"""Whether the share predicted right while learning is evidence: not if labels come in blocks.

A person does one exercise many times in a row, a machine runs in one state for an hour. In such a
stream a network that repeats the last label is right almost always, and has learned nothing. Labels
count as in blocks if they change less than half as often as in a shuffled order, where the share of
changes is `1 - sum of squared shares` of the labels. In blocks only the predictions at changes of
the label are evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

LEAST = 10  # labelled samples below which nothing is said of their order


class Labelled(Protocol):
    """A step as far as this looks at it; label None where there is none."""

    @property
    def label(self) -> int | None: ...

    @property
    def predicted(self) -> int | None: ...


@dataclass(frozen=True)
class Evidence:
    """A stream's labels in their order.

    `changes` counts the samples with another label than the labelled sample before, and `right` the
    correct predictions among them; `shuffled` is the mean number of changes in a shuffled order.
    """

    labelled: int
    changes: int
    right: int
    shuffled: float

    @property
    def in_blocks(self) -> bool:
        """Whether labels come in blocks."""
        return self.labelled >= LEAST and self.changes < self.shuffled / 2

    @property
    def at_changes(self) -> float | None:
        """The share predicted right at the changes; None where there are none."""
        return self.right / self.changes if self.changes else None


def evidence(steps: Sequence[Labelled]) -> Evidence:
    """How the labels of these steps follow each other."""
    known = [step for step in steps if step.label is not None]
    changed = [later for earlier, later in pairwise(known) if later.label != earlier.label]
    counts = Counter(step.label for step in known)
    total = len(known)
    alike = sum((n / total) ** 2 for n in counts.values()) if total else 1.0
    right = sum(step.predicted == step.label for step in changed)
    return Evidence(total, len(changed), right, (1 - alike) * max(total - 1, 0))
