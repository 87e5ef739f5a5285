"""What a run tells about labels on request, drift, the guard, outliers and bounded steps."""

from __future__ import annotations

from collections.abc import Sequence

from tinyodl.device.protocol import Flag
from tinyodl.report import groups
from tinyodl.report.figures import count, percent
from tinyodl.run_summary import RunSummary
from tinyodl.runlog import Run

_SETTLED = {"kept": "the last parameters are the best", "returned": "back to better parameters"}
NOISE = 0.01  # a share of bounded steps that needs no word
_EVENTS = {"drift": "drift found", "returned": "guard: back to better parameters"}


def sentences(runs: Sequence[Run]) -> list[str]:
    """Of all runs, those that have something to tell; each begins with the name of its run.

    What is to be said of their data comes first, once.
    """
    remarks = [remark for run in runs for remark in run.record.remarks]
    found = [f"{remark}." for remark in dict.fromkeys(remarks)]
    for run, name in zip(runs, groups.names(runs), strict=True):
        found += [f"{name}: {sentence}." for sentence in _of(run, run.summary)]
    return found


def _of(run: Run, summary: RunSummary) -> list[str]:
    made = []
    query = summary.query
    if query is not None and summary.asked is not None and summary.samples:
        parts = {"samples": query.samples, "questions": query.asks, "labels": query.labels}
        line = ", ".join(
            f"{part} {count(to)} and {count(back)}" for part, (to, back) in parts.items()
        )
        made.append(
            f"the board wanted {count(summary.asked)} of {count(summary.samples)} labels "
            f"({percent(1 - summary.asked / summary.samples)} saved), {query.answered_by} gave "
            f"{count(summary.answered or 0)}; bytes to the board and from it: {line}"
        )
    for event, what in _EVENTS.items():
        at = [str(each.step + 1) for each in summary.events if each.name == event]
        if at:
            made.append(f"{what} at step {', '.join(at)}")
    outliers = [event for event in summary.events if event.name == "outlier"]
    if outliers:
        named = [
            f"sample {each.sample} (value {each.value:.6g} at {each.place}; those before reach "
            f"{each.reach:.6g})"
            for each in run.record.outliers
        ]
        more = ", ..." if len(outliers) > len(named) else ""
        made.append(
            f"predicted, not learned: {count(len(outliers))} of {count(summary.samples)} samples "
            f"of {run.record.data} are outliers, {', '.join(named)}{more}"
        )
    if run.record.keep_outliers:
        made.append("samples far outside those before were learned too (--keep-outliers)")
    undone = [str(r.epoch + 1) for r in run.record.replays if Flag.RETURNED in Flag(r.flags)]
    if undone:
        made.append(
            f"{_EVENTS['returned']} after learning from the cache, epoch {', '.join(undone)}"
        )
    if summary.bounded > NOISE * summary.samples:
        made.append(
            f"{count(summary.bounded)} of {count(summary.samples)} steps were bounded: the rate is "
            "too high for these samples, or samples are far out"
        )
    if summary.held_back:
        made.append(f"the guard held {count(summary.held_back)} samples back")
    if run.record.settled:
        made.append(f"guard, at the end: {_SETTLED[run.record.settled]}")
    if run.record.settings:
        chosen = ", ".join(f"{key} {value:g}" for key, value in run.record.settings.items())
        made.append(f"settings: {chosen}")
    return made
