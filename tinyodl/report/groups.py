"""Runs that differ only in the order of their samples, and how they spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyodl.runlog import Run


@dataclass(frozen=True)
class Spread:
    """Accuracies of runs of one experiment with several shuffle seeds, as shares."""

    seeds: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


def names(runs: Sequence[Run]) -> list[str]:
    """A short name for each run: its folder's, with the parents that tell equal ones apart."""
    paths = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, paths), default=1) + 1):
        found = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(found)) == len(found):
            return found
    return [f"{name} ({index + 1})" for index, name in enumerate("/".join(p[-1:]) for p in paths)]


def spreads(runs: Sequence[Run]) -> list[Spread]:
    """One for each experiment that was run to its end with two shuffle seeds or more."""
    experiments: dict[object, list[Run]] = {}
    for run in runs:
        record = run.record
        if record.shuffle is None or record.status != "done":
            continue
        key = (record.model_id, record.board, record.data, record.eval_data, record.epochs,
               record.limit, record.learning_rate)  # fmt: skip
        experiments.setdefault(key, []).append(run)
    found = []
    for members in experiments.values():
        seeds = tuple(run.record.shuffle for run in members if run.record.shuffle is not None)
        before = tuple(a for run in members if (a := run.summary.accuracy_before) is not None)
        after = tuple(a for run in members if (a := run.summary.accuracy_after) is not None)
        if len(set(seeds)) == len(seeds) >= 2 and len(after) == len(before) == len(seeds):
            found.append(Spread(seeds, before, after))
    return found
