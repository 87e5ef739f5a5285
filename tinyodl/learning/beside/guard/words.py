"""The words for people on the guard."""

from __future__ import annotations

from tinyodl.device.codes import Flag
from tinyodl.learning.beside.guard.section import Guard
from tinyodl.learning.beside.record import Words
from tinyodl.project.plan import UpdatePlan
from tinyodl.report.figures import count
from tinyodl.runs.log import Run

_SETTLED = {"kept": "the last parameters are the best", "returned": "back to better parameters"}
_RETURNED = "guard: back to better parameters"


def _sentences(run: Run) -> list[str]:
    summary, record, made = run.summary, run.record, []
    at = [str(event.step + 1) for event in summary.events if event.name == "returned"]
    if at:
        made.append(f"{_RETURNED} at step {', '.join(at)}")
    undone = [str(r.epoch + 1) for r in record.replays if Flag.RETURNED in Flag(r.flags)]
    if undone:
        made.append(f"{_RETURNED} after learning from the cache, epoch {', '.join(undone)}")
    if summary.held_back:
        made.append(f"the guard held {count(summary.held_back)} samples back")
    if record.settled:
        made.append(f"guard, at the end: {_SETTLED[record.settled]}")
    return made


def _clause(plan: UpdatePlan) -> str:
    guard = Guard.on(plan)
    return f"holds back one of {guard.every} labelled samples to guard, margin {guard.margin:g}"


WORDS = Words(_clause, sentences=_sentences)
