"""A run's messages about labels on request, drift, the guard, outliers and bounded steps."""

from __future__ import annotations

from collections.abc import Sequence

from tinyodl.learning.beside import words
from tinyodl.report import groups
from tinyodl.report.figures import count
from tinyodl.runs.log import Run
from tinyodl.runs.summary import RunSummary

NOISE = 0.01  # a share of bounded steps that needs no word


def sentences(runs: Sequence[Run]) -> list[str]:
    """The messages of all runs that have some; each begins with the name of its run.

    Messages on their common data come first, once.
    """
    remarks = [remark for run in runs for remark in run.record.remarks]
    found = [f"{remark}." for remark in dict.fromkeys(remarks)]
    for run, name in zip(runs, groups.names(runs), strict=True):
        found += [f"{name}: {sentence}." for sentence in _of(run, run.summary)]
    return found


def _of(run: Run, summary: RunSummary) -> list[str]:
    made = [sentence for each in words().values() for sentence in each.sentences(run)]
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
    if summary.bounded > NOISE * summary.samples:
        made.append(
            f"{count(summary.bounded)} of {count(summary.samples)} steps were bounded: the rate is "
            "too high for these samples, or samples are far out"
        )
    if run.record.settings:
        chosen = ", ".join(f"{key} {value:g}" for key, value in run.record.settings.items())
        made.append(f"settings: {chosen}")
    return made
