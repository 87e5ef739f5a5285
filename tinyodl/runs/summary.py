"""A run in numbers, from its record and its steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinyodl.device.codes import Flag
from tinyodl.runs.record import (
    PHASES,
    Event,
    EventName,
    Name,
    QueryRecord,
    Record,
    Replay,
    RunRecord,
    Status,
    Step,
)
from tinyodl.samples.evidence import evidence


class ReplaySummary(Record):
    """The epochs from the cache in numbers: all samples, the last epoch's loss, all ms and mJ."""

    epochs: int
    samples: int
    loss: float | None
    ms: float | None
    mj: float | None


class RunSummary(Record):
    """A run in numbers. Cycles, instructions, ms and mJ are means per step.

    `prequential_accuracy` is the share of samples predicted right before learning from them. It is
    no evidence if labels come in blocks. Then `accuracy_at_changes` says more: it counts only
    samples with another label than the sample before; see `tinyodl.samples.evidence`.
    """

    run: Name  # the folder
    status: Status
    error: str | None
    samples: int
    accuracy_before: float | None
    accuracy_after: float | None
    loss_before: float | None
    loss_after: float | None
    prequential_accuracy: float | None
    labels_in_blocks: bool = False
    label_changes: int = 0
    accuracy_at_changes: float | None = None
    mean_loss: float | None
    cycles: dict[str, float] | None
    instructions: dict[str, float] | None
    ms_per_step: float | None
    mj_per_step: float | None
    replay: ReplaySummary | None
    time_source: str
    energy_source: str | None
    board: str
    port: Name
    saved: bool
    asked: int | None = None  # samples whose label the board wanted; None: all went with it
    answered: int | None = None
    query: QueryRecord | None = None
    held_back: int = 0  # by the guard
    bounded: int = 0  # steps made smaller by the bound
    events: tuple[Event, ...] = ()
    verdict: str | None = None


def summarize(record: RunRecord, steps: Sequence[Step], folder: Path) -> RunSummary:
    """The run in numbers; of what was logged, when it ended early."""
    labelled = [step for step in steps if step.label is not None]
    order = evidence(steps)
    losses = [step.loss for step in steps if step.learned and not step.unlabelled]
    energies = [step.mj for step in steps]
    return RunSummary(
        run=str(folder),
        status=record.status,
        error=record.error,
        samples=len(steps),
        accuracy_before=record.before.accuracy if record.before else None,
        accuracy_after=record.after.accuracy if record.after else None,
        loss_before=record.before.loss if record.before else None,
        loss_after=record.after.loss if record.after else None,
        prequential_accuracy=_mean([float(s.predicted == s.label) for s in labelled]),
        labels_in_blocks=order.in_blocks,
        label_changes=order.changes,
        accuracy_at_changes=order.at_changes,
        mean_loss=_mean(losses),
        cycles=_by_phase([step.cycles for step in steps]),
        instructions=_by_phase([step.instructions for step in steps]),
        ms_per_step=_mean([step.ms for step in steps]),
        mj_per_step=_mean(energies),
        replay=_replayed(record.replays),
        time_source=record.time_source,
        energy_source=record.energy_source,
        board=record.board,
        port=record.port,
        saved=record.saved,
        asked=sum(bool(step.asked) for step in steps) if record.query else None,
        answered=sum(step.answer is not None for step in steps) if record.query else None,
        query=record.query,
        held_back=sum(Flag.HELD_BACK in Flag(step.flags) for step in steps),
        bounded=sum(Flag.BOUNDED in Flag(step.flags) for step in steps),
        events=tuple(sorted((*events(steps), *record.happened), key=lambda event: event.step)),
        verdict=record.verdict,
    )


def events(steps: Sequence[Step]) -> tuple[Event, ...]:
    """Drifts, returns to kept parameters, outliers and saves, in their order."""
    names: dict[Flag, EventName] = {
        Flag.DRIFT: "drift",
        Flag.RETURNED: "returned",
        Flag.OUTLIER: "outlier",
    }
    found = []
    for step in steps:
        for flag, name in names.items():
            if flag in Flag(step.flags):
                found.append(Event(step=step.step, name=name))
        if step.saved is not None:
            found.append(Event(step=step.step, name="saved", generation=step.saved))
    return tuple(found)


def _replayed(replays: Sequence[Replay]) -> ReplaySummary | None:
    if not replays:
        return None
    return ReplaySummary(
        epochs=len(replays),
        samples=sum(replay.samples for replay in replays),
        loss=replays[-1].loss,
        ms=_sum([replay.ms for replay in replays]),
        mj=_sum([replay.mj for replay in replays]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    """None when one of them is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    """None when there are no values, or one of them is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _by_phase(counts: Sequence[tuple[int, int, int] | None]) -> dict[str, float] | None:
    known = [count for count in counts if count is not None]
    if not known or len(known) < len(counts):
        return None
    return {
        phase: sum(count[index] for count in known) / len(known)
        for index, phase in enumerate(PHASES)
    }
