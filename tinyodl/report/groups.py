"""Facts about several runs together: names, and the costs of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyodl.runs.log import Run
from tinyodl.runs.summary import summarize


def names(runs: Sequence[Run]) -> list[str]:
    """A short name for each run: its folder's, with the parents that tell equal ones apart."""
    paths = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, paths), default=1) + 1):
        found = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(found)) == len(found):
            return found
    return [f"{name} ({index + 1})" for index, name in enumerate("/".join(p[-1:]) for p in paths)]


@dataclass(frozen=True)
class PhaseCost:
    """A part of a step, in means per step; `share` is of the step's cycles.

    Without a model of cycles, there are none and no time, and `share` is of its instructions.
    """

    name: str
    share: float
    cycles: float | None
    instructions: float | None
    ms: float | None


@dataclass(frozen=True)
class StepCost:
    """The costs of a step in one run, or in several runs of one firmware on the same board."""

    name: str
    phases: tuple[PhaseCost, ...]
    ms: float | None
    mj: float | None

    @property
    def instructions(self) -> float | None:
        """Instructions of the whole step; None if the board cannot count them."""
        counts = [phase.instructions for phase in self.phases]
        return None if None in counts else sum(count for count in counts if count is not None)


def step_costs(runs: Sequence[Run]) -> list[StepCost]:
    """One for each firmware and board: in which order samples come does not matter here."""
    alike: dict[object, list[tuple[Run, str]]] = {}
    for run, name in zip(runs, names(runs), strict=True):
        if run.steps:
            key = (run.record.model_id, run.record.board, run.record.port, run.record.clock_hz)
            alike.setdefault(key, []).append((run, name))
    costs = []
    for members in alike.values():
        first, name = members[0]
        steps = [step for run, _ in members for step in run.steps]
        mean = summarize(first.record, steps, first.folder)
        spent = mean.cycles or mean.instructions or {}
        total = sum(spent.values()) or 1
        phases = tuple(
            PhaseCost(
                phase,
                count / total,
                count if mean.cycles else None,
                None if mean.instructions is None else mean.instructions[phase],
                1e3 * count / first.record.clock_hz if mean.cycles else None,
            )
            for phase, count in spent.items()
        )
        label = name if len(members) == 1 else f"mean of {len(members)} runs"
        costs.append(StepCost(label, phases, mean.ms_per_step, mean.mj_per_step))
    return costs
