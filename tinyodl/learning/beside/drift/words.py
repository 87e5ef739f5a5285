"""The words for people on drift."""

from __future__ import annotations

from tinyodl.learning.beside.record import Words
from tinyodl.runs.log import Run


def _sentences(run: Run) -> list[str]:
    at = [str(event.step + 1) for event in run.summary.events if event.name == "drift"]
    return [f"drift found at step {', '.join(at)}"] if at else []


WORDS = Words(lambda plan: "watches for drift", sentences=_sentences)
