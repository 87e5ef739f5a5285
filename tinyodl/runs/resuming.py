"""Saves in the middle of a run, and the way back to the last one, by bits.

A run with `save_every` saves the board's state at its beginning and after every so many samples.
The state is everything that learning reads: parameters, optimiser, a partly filled gradient batch,
cache, guard, query, drift, counts. The store does not keep the learning rate and settings: they are
sent again. So a board that has lost its power goes back to the last save, the samples since come
again, and the weights at the end are those of an undisturbed run.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from tinyodl.device.codes import State, Status
from tinyodl.device.refusals import RefusedError
from tinyodl.errors import BoardError, UserError
from tinyodl.learning import outliers
from tinyodl.project.manifest import Manifest
from tinyodl.runs import aside
from tinyodl.runs.log import RunLog
from tinyodl.runs.record import Checkpoint, RunRecord, Step
from tinyodl.samples.data import Samples
from tinyodl.targets import firmware
from tinyodl.targets.boards import Board

if TYPE_CHECKING:
    from tinyodl.session.session import Session

ERASES = 10_000  # the rating of a slot of flash, on all boards so far

# What must be the same, and how the user says it.
_ORDER = {"epochs": "--epochs", "limit": "--limit", "shuffle": "--shuffle", "draw": "--draw"}
_SETTINGS = {
    "learning_rate": "--lr",
    "settings": "--set",
    "keep_outliers": "--keep-outliers",
    "answered_by": "--query, --teacher or --silent",
    "save": "--save",
    "save_every": "--save-every",
}


def digest(samples: Samples) -> str:
    """SHA-256 of samples as they were checked: the types, shapes and bytes of x and y."""
    found = hashlib.sha256()
    for array in (samples.x, samples.y):
        found.update(f"{array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def unable(manifest: Manifest, board: Board) -> str | None:
    """Why a run of this firmware cannot be saved in its middle and resumed; None where it can."""
    for section in manifest.plan.beside.values():
        if section.not_stored:
            return section.not_stored
    unit = board.target.flash_unit
    needed = firmware.stored_bytes((record.bytes for record in manifest.parameters), unit)
    if not board.on_host and board.store is None:
        return "the board has no store for weights"
    if board.store is not None and needed > board.store.slot_bytes:
        return (
            f"weights and what learning keeps beside them take {needed:,} B of the store, whose "
            f"slots have {board.store.slot_bytes:,} B"
        )
    return None


def require_able(manifest: Manifest, board: Board) -> None:
    """UserError where a run cannot be resumed."""
    why = unable(manifest, board)
    if why is not None:
        raise UserError(f"a run of this project cannot be saved in its middle, nor resumed: {why}")


def require_same(old: RunRecord, new: RunRecord, folder: str) -> None:
    """UserError that names the differences between a resumed run and its beginning."""
    if old.status not in ("running", "interrupted", "failed"):
        raise UserError(f"{folder}: this run is {old.status}; there is nothing to resume")
    if old.data_digest is None or old.began_at is None:
        raise UserError(f"{folder}: this log is of an older tinyodl, and cannot be resumed")
    if (old.model_id, old.board) != (new.model_id, new.board):
        raise UserError(
            f"{folder}: other firmware: the run began with model {old.model_id} on {old.board}, "
            f"the project is model {new.model_id} on {new.board}"
        )
    if old.data_digest != new.data_digest:
        raise UserError(
            f"{folder}: other data: the run began with {old.data}, and {new.data} has other samples"
        )
    if old.eval_digest != new.eval_digest:
        raise UserError(
            f"{folder}: other data to evaluate on: the run began with {old.eval_data or 'none'}, "
            f"this is {new.eval_data or 'none'}"
        )
    for what, options in (("order", _ORDER), ("settings", _SETTINGS)):
        for field, option in options.items():
            before, now = getattr(old, field), getattr(new, field)
            if before != now:
                raise UserError(
                    f"{folder}: other {what}: the run began with {option} {_told(before)}, this "
                    f"says {_told(now)}; give the options that it began with"
                )


def _told(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={number:g}" for name, number in value.items()) or "not given"
    if isinstance(value, float):
        return f"{value:g}"
    return "not given" if value is None else f"{value}"


def save_here(session: Session, log: RunLog, streamed: int, replayed: int) -> bool:
    """Save the board's state, and note in the log of which place in the run it is.

    False where the board has no store that holds it.
    """
    client = session.client
    hello = client.statistics()
    generation = (log.record.checkpoint or log.record.saving or _before(log.record)).generation
    here = Checkpoint(
        generation=generation % 0xFFFFFFFF + 1,
        streamed=streamed,
        replayed=replayed,
        steps=hello.steps,
    )
    log.update(saving=here)
    try:
        generation = client.save()
    except RefusedError as error:
        if error.status in (Status.NO_SPACE, Status.STORE):
            log.update(saving=None)
            return False
        raise
    here = here.model_copy(update={"generation": generation})
    log.update(checkpoint=here, saving=None, saves=log.record.saves + 1)
    return True


def _before(record: RunRecord) -> Checkpoint:
    return Checkpoint(
        generation=record.generation_before, streamed=0, replayed=0, steps=record.steps_before
    )


def send_settings(session: Session, record: RunRecord) -> None:
    """Learning rate and settings as they were in force when the run began."""
    for name, value in record.in_force.items():
        keeps = record.keep_outliers and name == outliers.SETTING
        session.client.setting(name, 0.0 if keeps else value)
    session.client.learning_rate(record.learning_rate)


def go_back(session: Session, log: RunLog) -> list[Step]:
    """Take the board to the last save of a run, or to its beginning, and the log with it.

    The steps that come again, as they were logged. Raises UserError where the run cannot go on, and
    BoardError if the board's store is not the run's.
    """
    hello = session.client.hello()
    known = [c for c in (log.record.saving, log.record.checkpoint) if c is not None]
    at_start = hello.generation == log.record.generation_before
    if not known or (log.record.checkpoint is None and at_start):
        _begin_again(session, log, hello.generation)
        log.update(saving=None)
        place = Checkpoint(generation=0, streamed=0, replayed=0, steps=log.record.steps_before)
    else:
        fitting = [c for c in known if c.generation == hello.generation]
        if not fitting:
            raise BoardError(
                f"the board's store has generation {hello.generation}, and the last save of "
                f"{log.folder} is generation {known[-1].generation}: it was used since, or this is "
                "another board"
            )
        place = fitting[0]
        restored = session.client.restore(again=True)
        if restored.steps != place.steps:
            raise BoardError(
                f"the state in the board's store has learned from {restored.steps} samples, that "
                f"of {log.folder} from {place.steps}: this is another board"
            )
        log.update(checkpoint=place, saving=None)
    send_settings(session, log.record)
    return log.go_back(place.streamed, place.replayed)


def _begin_again(session: Session, log: RunLog, generation: int) -> None:
    """The state in which a run without a save began, if it still exists."""
    record, plan = log.record, session.manifest.plan
    lost = next((s.not_undone for s in plan.beside.values() if s.not_undone and log.steps), None)
    if lost or (log.folder / aside.WEIGHTS).exists() or record.began_at is State.COMPILED:
        pass
    elif record.began_at is State.CHANGED:
        lost = "the weights that it began with were not read"
    elif generation != record.generation_before:
        lost = (
            f"it began with generation {record.generation_before} of the board's store, which now "
            f"has generation {generation}"
        )
    if lost:
        raise UserError(
            f"the run has no save to go on from, and cannot begin again: {lost}; begin a new run, "
            "with --save-every N to be able to resume it"
        )
    aside.put_back(session, log)
    if record.save_every is not None and not (log.folder / aside.WEIGHTS).exists():
        aside.keep_aside(session, log)
