"""Experiments among runs: differing settings, means over shuffles, invalid comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tinyodl.project.manifest import LayerRecord, Manifest
from tinyodl.report.figures import count, learns, mean_percent, percent, significant
from tinyodl.report.groups import names
from tinyodl.runs.log import Run

_ENDED = ("done", "harmed")


@dataclass(frozen=True)
class Spread:
    """Accuracies of runs of one experiment with several shuffle seeds, as shares.

    `name` is what tells the experiment from the others; "" where there is one.
    """

    name: str
    seeds: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The differences of the runs, beside the shuffle seed: named columns with a cell for each run.

    Data is told apart by its content, not by its name. The firmware is a column only if runs differ
    in it and in nothing else.
    """
    told = [_facts(run) for run in runs]
    for name in ("data", "tested on"):
        _by_content([facts[name] for facts in told])
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for facts in told for name in facts):
        cells = [str(facts.get(name, "-")) for facts in told]
        if len(set(cells)) > 1:
            columns[name] = cells
    firmware = columns.pop("firmware", None)
    if firmware:
        others = list(zip(*columns.values(), strict=True)) or [()] * len(runs)
        if len(set(zip(others, firmware, strict=True))) > len(set(others)):
            columns["firmware"] = firmware
    return columns


@dataclass
class _Data:
    """A data file: its name, and the digest of its content where the name does not tell it."""

    name: str
    digest: str | None
    told: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.digest[:6]}" if self.told and self.digest else self.name


def _by_content(data: Sequence[_Data | str]) -> None:
    """One name for one content, the first; one name of several contents gets their digests."""
    known = [each for each in data if isinstance(each, _Data)]
    first = {each.digest: each.name for each in reversed(known)}
    for each in known:
        if each.digest is not None:
            each.name = first[each.digest]
    contents = {
        name: {d.digest for d in known if d.name == name} for name in {d.name for d in known}
    }
    for each in known:
        each.told = len(contents[each.name]) > 1


def _facts(run: Run) -> dict[str, _Data | str]:
    """An experiment: data, project, board and every setting, but not the shuffle seed."""
    record, manifest = run.record, run.manifest
    rule = manifest.plan.model_dump(mode="json", exclude={"layers", "learning_rate"})
    return {
        "model": manifest.model.source,
        "board": record.board,
        "data": _Data(record.data, record.data_digest),
        "tested on": _Data(record.eval_data or "-", record.eval_digest),
        "learns": _what_learns(manifest),
        "rate": significant(record.learning_rate),
        "epochs": str(record.epochs),
        "limit": str(record.limit or "-"),
        "draw": record.draw or "-",
        "labels by": record.query.answered_by if record.query else "-",
        "learned before": count(record.steps_before),
        **{name.replace("_", " "): _text(value) for name, value in rule.items()},
        **{f"set {name}": _text(value) for name, value in record.settings.items()},
        "firmware": record.model_id[:8],
    }


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "-" if value is None else str(value)


def _what_learns(manifest: Manifest) -> str:
    learning = [layer for layer in manifest.layers if layer.updates != "none"]
    if len(learning) > 3:
        return f"{len(learning)} of {len(manifest.layers)} layers"
    return "; ".join(map(_briefly, learning)) or "nothing"


def _briefly(layer: LayerRecord) -> str:
    """A layer, and the part of it that learns if not all does."""
    whole = layer.updates == "weights" and layer.channels is None
    return layer.name if whole else f"{layer.name}: {learns(layer)}"


def _experiments(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Finished shuffled runs by experiment; its differing settings are the experiment's name.

    Runs that ended harmed count, too: without them the mean would look better than it is.
    """
    shuffled = [r for r in runs if r.record.shuffle is not None and r.record.status in _ENDED]
    columns = differences(shuffled)
    found: dict[str, list[Run]] = {}
    for index, run in enumerate(shuffled):
        name = ", ".join(f"{column} {cells[index]}" for column, cells in columns.items())
        found.setdefault(name, []).append(run)
    return found


def spreads(runs: Sequence[Run]) -> list[Spread]:
    """One for each experiment that was run to its end with two shuffle seeds or more."""
    found = []
    for name, members in _experiments(runs).items():
        before = tuple(a for run in members if (a := run.summary.accuracy_before) is not None)
        after = tuple(a for run in members if (a := run.summary.accuracy_after) is not None)
        if len(members) > 1 and not _unfit(members):
            found.append(Spread(name, _seeds(members), before, after))
    return found


def spread_sentences(runs: Sequence[Run]) -> list[str]:
    """The means of experiments, and why others of several runs have none."""
    found = [
        f"Mean of {len(spread.seeds)} shuffled runs{f' ({spread.name})' if spread.name else ''}: "
        f"{mean_percent(spread.before)} before, {mean_percent(spread.after)} after "
        "(± standard deviation)."
        for spread in spreads(runs)
    ]
    for name, members in _experiments(runs).items():
        reason = _unfit(members)
        if len(members) > 1 and reason:
            of = f" of {name}" if name else ""
            found.append(f"The {len(members)} shuffled runs{of} are not averaged: {reason}.")
    return found


def block_sentences(runs: Sequence[Run]) -> list[str]:
    """For each run with labels in blocks: the figure that is no evidence, and the one shown."""
    found = []
    for run, name in zip(runs, names(runs), strict=True):
        summary = run.summary
        if summary.labels_in_blocks:
            changes = "change" if summary.label_changes == 1 else "changes"
            found.append(
                f"* {name}: labels come in blocks, {count(summary.label_changes)} {changes} in "
                f"{count(summary.samples)} samples. The {percent(summary.prequential_accuracy)} "
                "predicted right before learning is no evidence there, since the label before is a "
                "good guess; shown is the share right at the changes."
            )
    return found


def _seeds(members: Sequence[Run]) -> tuple[int, ...]:
    return tuple(run.record.shuffle for run in members if run.record.shuffle is not None)


def _unfit(members: Sequence[Run]) -> str:
    """Why the accuracies of these runs have no mean; "" where they have one."""
    twice = [str(seed) for seed, times in Counter(_seeds(members)).items() if times > 1]
    if twice:
        return f"seed {', '.join(twice)} comes more than once"
    if any(r.summary.accuracy_after is None or r.summary.accuracy_before is None for r in members):
        return "not all were evaluated before and after by their labels"
    return ""
