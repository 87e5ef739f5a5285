"""What a rehearsal tries: learners and plans, with the settings that matter for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
SMALL_RATES = (0.0003, 0.001, 0.003, 0.01)  # where a step moves every layer
NORMALISED = (0.03, 0.1, 0.3)  # shares of how far a step of --bound normalised reaches


@dataclass(frozen=True)
class Candidate:
    """A way to learn, compiled once.

    name     in words, as tables have it
    options  of `tinyodl.compile`, over those of the user
    rates    learning rates, tried one after the other; () where the rule has none
    started  it begins from the samples of --old
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    rates: tuple[float, ...] = ()
    started: bool = False


@dataclass(frozen=True)
class Task:
    """What the candidates depend on.

    outputs  of the model as it is
    classes  labels to tell apart; where there are more than outputs, every head is a fresh one
    source   the model's only input by name, "" where it has several
    old      samples from before are given
    """

    outputs: int
    classes: int
    source: str
    old: bool

    @property
    def fresh(self) -> bool:
        """Whether the model's own last layer has too few outputs."""
        return self.classes > self.outputs


def candidates(task: Task) -> tuple[Candidate, ...]:
    """All there are, the cheapest kind first: where time ends, the rest is named as not tried."""
    kinds = (_frozen(task), _without_rate(task), _gradients(task), _variants(task), _large(task))
    return tuple(each for kind in kinds for each in kind)


def _frozen(task: Task) -> Iterator[Candidate]:
    if not task.fresh:
        yield Candidate("none", {"update": "none"})


def _without_rate(task: Task) -> Iterator[Candidate]:
    """Order and rate play no part in them: they are the surest."""
    for learner in ("slda", "rls", "ncm"):
        yield from _learner(task, learner)
    yield Candidate("prototypes", {"head": f"prototypes:{task.classes or task.outputs}"})


def _gradients(task: Task) -> Iterator[Candidate]:
    head = {"head": f"dense:{task.classes}"} if task.fresh else {}
    yield Candidate("last", {**head, "update": "last"}, RATES)
    yield from _learner(task, "online", RATES)
    yield from _learner(task, "transfer", RATES)
    if not task.fresh:
        yield Candidate("bias", {"update": "bias"}, RATES)
    normalised = {**head, "update": "last", "bound": "normalised"}
    yield Candidate("last, steps normalised", normalised, NORMALISED)


def _variants(task: Task) -> Iterator[Candidate]:
    """Further settings of the learners, compiled again."""
    yield from _learner(task, "elm")
    yield from _learner(task, "slda", ridge=0.1)
    yield from _learner(task, "rls", ridge=0.1)
    yield from _learner(task, "rls", forgetting=0.999)
    yield from _learner(task, "transfer", RATES, cache=256)


def _large(task: Task) -> Iterator[Candidate]:
    if task.source:
        yield from _learner(task, "elm", tap=[task.source])
    if not task.fresh:
        yield Candidate("full", {"update": "full"}, SMALL_RATES)


_STARTS = ("slda", "rls", "ncm", "elm", "online")


def _learner(
    task: Task, learner: str, rates: tuple[float, ...] = (), **settings: Any
) -> Iterator[Candidate]:
    """A learner from zero, and one that begins as if it had learned the old samples."""
    options = {"learner": learner, **settings}
    if task.fresh:
        options["classes"] = task.classes
    said = [f"{name} {value:g}" for name, value in settings.items() if name != "tap"]
    name = ", ".join([learner, *(["on the input"] if "tap" in settings else []), *said])
    yield Candidate(name, options, rates)
    if task.old and learner in _STARTS:
        yield Candidate(f"{name}, started", options, rates, started=True)
