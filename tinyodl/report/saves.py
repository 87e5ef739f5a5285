"""Messages for people on saves, on resuming, and on the evidence for harm done by a run."""

from __future__ import annotations

from tinyodl.project.manifest import Manifest
from tinyodl.runs.record import Event, RunRecord
from tinyodl.runs.resuming import ERASES, unable
from tinyodl.targets.boards import Board

_EVENTS = {
    "reconnected": "the line was lost and is back; the board had gone on",
    "restarted": "the board restarted, and went back to its last save",
    "resumed": "the run goes on here",
}


def of_saves(record: RunRecord) -> list[str]:
    """Sentences on a run's saves, and on its verdict where only the stream's loss told."""
    found = []
    if record.save_every is not None and record.saves:
        times = "once" if record.saves == 1 else f"{record.saves:,} times"
        found.append(
            f"Saved {times}: each save erases one of two slots of flash, which are rated for "
            f"{ERASES:,} erases each."
        )
    if record.verdict and record.after is None and record.status != "harmed":
        found.append(f"Whether learning did harm: {record.verdict}.")
    return found


def of_resuming(manifest: Manifest, board: Board) -> list[str]:
    """A sentence where a run of this firmware cannot be resumed."""
    why = unable(manifest, board)
    return [f"A run cannot be saved in its middle, nor resumed: {why}."] if why else []


def of_event(event: Event) -> str | None:
    """An event that people want to know of while a run goes on; None for a save."""
    told = _EVENTS.get(event.name)
    return f"Step {event.step}: {told}." if told else None
