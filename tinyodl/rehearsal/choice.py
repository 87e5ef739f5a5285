"""Which of the candidates to take, and why: the rule, and nothing else.

Held-out samples decide. A stream may come as it was recorded, or mixed; a rule that forgets does
well in one order and not in the other. So a candidate's share is the mean of both orders. What is
within one standard error of the best is a tie, and of those that tie the cheapest is taken: the one
with the smallest product of RAM and multiply-accumulates a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

from tinyodl.rehearsal.trial import Difference, difference
from tinyodl.rehearsal.work import Tried

FROZEN = "none"  # the candidate that learns nothing


@dataclass(frozen=True)
class Choice:
    """The candidate to take.

    best  the one with the largest share of held-out samples right
    tied  those within one standard error of it, the cheapest first; `taken` is the first
    why   sentences, the first of which goes on from the name of `taken`
    """

    taken: Tried
    best: Tried
    tied: tuple[Tried, ...]
    why: tuple[str, ...]


def share_of(tried: Tried) -> float:
    """The share of held-out samples right: the mean of both orders."""
    return (tried.shuffled.accuracy + tried.recorded.accuracy) / 2


def error_of(tried: Tried) -> float:
    """Its standard error: the same samples are held out in both orders, so the larger of both."""
    return max(tried.shuffled.error, tried.recorded.error)


def cost_of(tried: Tried) -> float:
    """What a tie is broken by: bytes of RAM times multiply-accumulates a step."""
    return float(tried.ram) * tried.macs


def choose(tried: Sequence[Tried]) -> Choice | None:
    """The candidate to take; None where no trial went well."""
    sound = [each for each in tried if each.shuffled.finite and each.recorded.finite]
    if not sound:
        return None
    best = max(sound, key=share_of)
    tied = sorted((each for each in sound if _ties(each, best)), key=cost_of)
    return Choice(tied[0], best, tuple(tied), tuple(_why(tied, best, sound)))


def _ties(each: Tried, best: Tried) -> bool:
    orders = ((best.shuffled, each.shuffled), (best.recorded, each.recorded))
    shuffled, recorded = (difference(one, other) for one, other in orders)
    error = max(shuffled.error, recorded.error, hypot(shuffled.error, recorded.error) / 2)
    return each is best or Difference((shuffled.mean + recorded.mean) / 2, error).ties


def _why(tied: Sequence[Tried], best: Tried, sound: Sequence[Tried]) -> list[str]:
    """Sentences that go on from the name of the one that is taken."""
    taken, count = tied[0], len(tied)
    if taken is best and count == 1:
        told = [f"ahead of the {len(sound) - 1} others by more than the standard error."]
    elif taken is best:
        told = [f"the best, and the cheapest of {count} that tie."]
    else:
        told = [f"the cheapest of {count} within one standard error of the best, {best.name}."]
    if taken.candidate == FROZEN:
        told.append("Learning brings nothing that these samples can show.")
    return told
