"""A rehearsal for people: the table of candidates, the one to take and why, a page, a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from tinyodl import __version__
from tinyodl.project.options import OPTIONS, kind_of
from tinyodl.project.template import toml_value
from tinyodl.rehearsal.choice import FROZEN, error_of, share_of
from tinyodl.rehearsal.rehearse import Rehearsal
from tinyodl.rehearsal.work import NOT_KNOWN, Tried
from tinyodl.report import figures
from tinyodl.report.columns import table_of
from tinyodl.report.figures import UNKNOWN, count, percent
from tinyodl.report.pareto import Point, draw
from tinyodl.report.writing import write_output
from tinyodl.resources import TEMPLATES

HEADER = "# Written by `tinyodl rehearse`"  # of a file that may be written over
_SHOWN = 12  # rows in the terminal; the page has all


def ranked(made: Rehearsal) -> list[Tried]:
    """The candidates, each with its best rate, the best first."""
    best: dict[str, Tried] = {}
    for each in (tried for result in made.results for tried in result.tried):
        known = best.get(each.candidate)
        if known is None or share_of(each) > share_of(known):
            best[each.candidate] = each
    if made.choice:
        best[made.choice.taken.candidate] = made.choice.taken
    return sorted(best.values(), key=share_of, reverse=True)


def held_out(tried: Tried) -> str:
    """The share with its standard error, as "93.2 ± 1.1 %"."""
    return f"{100 * share_of(tried):.1f} ± {100 * error_of(tried):.1f} %"


# Columns of the table: name, and what a candidate has there; "#" marks numbers.
_COLUMNS: tuple[tuple[str, Callable[[Tried], str]], ...] = (
    ("held out#", held_out),
    ("worst#", lambda t: percent(t.shuffled.worst)),
    ("old kept#", lambda t: percent(t.shuffled.kept)),
    ("RAM, B#", lambda t: count(t.ram)),
    ("ms a step#", lambda t: figures.significant(t.ms)),
    ("mJ#", lambda t: figures.significant(t.mj)),
)
_MORE: tuple[tuple[str, Callable[[Tried], str]], ...] = (
    ("shuffled#", lambda t: percent(t.shuffled.accuracy)),
    ("recorded#", lambda t: percent(t.recorded.accuracy)),
    ("worst class#", lambda t: str(t.shuffled.worst_label)),
    ("MACs#", lambda t: count(t.macs)),
    ("flash, B#", lambda t: count(t.flash)),
)


def columns(made: Rehearsal) -> list[tuple[str, Callable[[Tried], str]]]:
    """The columns that have something to say."""
    shown = ranked(made)
    return [(name, of) for name, of in _COLUMNS if any(of(each) != UNKNOWN for each in shown)]


def print_rehearsal(console: Console, made: Rehearsal) -> None:
    """The best candidates, those not tried, and the one to take."""
    shown, there = ranked(made), columns(made)
    samples = made.problem.samples
    table = table_of(
        "", *(name for name, _ in there),
        title=f"{made.problem.name} on {made.problem.board.title}, {len(samples):,} samples",
    )  # fmt: skip
    table.columns[0].no_wrap = False  # names are wrapped, numbers stay whole
    few = shown[:_SHOWN]
    few += [each for each in shown[_SHOWN:] if _stays(made, each)]
    for each in few:
        taken = made.choice is not None and each is made.choice.taken
        style = "green" if taken else ""
        table.add_row(Text(each.name, style), *(Text(of(each), style) for _, of in there))
    console.print(table)
    for sentence in sentences(made):
        console.print(sentence, soft_wrap=True)


def _stays(made: Rehearsal, each: Tried) -> bool:
    """Whether a row is always shown: the choice, and the network that learns nothing."""
    return each.candidate == FROZEN or (made.choice is not None and each is made.choice.taken)


def sentences(made: Rehearsal) -> list[str]:
    """What was taken and why, what it does in recorded order, and what was not tried."""
    told = []
    if made.choice is None:
        told.append("No candidate could be tried, so none is taken.")
    else:
        told.append(f"Take {made.choice.taken.name}: {' '.join(made.choice.why)}")
    told += list(_of_finals(made))
    reasons = {r.candidate: r.why_not.split(";")[0] for r in made.results if r.why_not}
    timeless = [name for name, why in reasons.items() if why.startswith(NOT_KNOWN)]
    if timeless:
        names = "; ".join(timeless)
        told.append(f"Not tried, without an estimate of a step's time or energy: {names}.")
    left_out = [f"{name} ({why})" for name, why in reasons.items() if name not in timeless]
    if left_out:
        told.append(f"Do not suit or fit: {'; '.join(left_out)}.")
    if made.untried:
        told.append(f"Not tried, or not with all rates: {', '.join(made.untried)}.")
    return told


def _of_finals(made: Rehearsal) -> list[str]:
    told = []
    for each in made.finals:
        after = [f"{percent(each.learning)} right while learning"] if each.name != FROZEN else []
        if each.tested is not None:
            after.append(f"{percent(each.tested)} of the other day's samples")
        if each.kept is not None:
            after.append(f"{percent(each.kept)} of the old ones")
        if after:
            told.append(f"In recorded order, {each.name}: {', then '.join(after[:2])}"
                        f"{', and ' + after[2] if len(after) > 2 else ''}.")  # fmt: skip
    return told


def rehearsal_values(made: Rehearsal) -> dict[str, Any]:
    """A rehearsal as plain values, for --json."""
    taken = made.choice.taken if made.choice else None
    return {
        "model": made.problem.name,
        "board": made.problem.board.name,
        "samples": len(made.problem.samples),
        "taken": None if taken is None else _values(taken),
        "why": list(made.choice.why) if made.choice else [],
        "tied": [each.name for each in made.choice.tied] if made.choice else [],
        "tried": [_values(tried) for result in made.results for tried in result.tried],
        "left_out": {r.candidate: r.why_not for r in made.results if r.why_not},
        "untried": list(made.untried),
        "recorded_order": [
            {"name": f.name, "learning": f.learning, "tested": f.tested, "kept": f.kept}
            for f in made.finals
        ],
        "interrupted": made.stopped,
    }


def _values(tried: Tried) -> dict[str, Any]:
    return {
        "name": tried.name,
        "options": dict(tried.options),
        "started": tried.started,
        "held_out": share_of(tried),
        "error": error_of(tried),
        "shuffled": tried.shuffled.accuracy,
        "recorded": tried.recorded.accuracy,
        "by_seed": list(tried.shuffled.by_seed),
        "worst": tried.shuffled.worst,
        "worst_label": tried.shuffled.worst_label,
        "kept": tried.shuffled.kept,
        "ram_bytes": tried.ram,
        "flash_bytes": tried.flash,
        "macs": tried.macs,
        "ms": tried.ms,
        "mj": tried.mj,
    }


def write_page(made: Rehearsal, path: Path) -> None:
    """The page: the table of all candidates, and accuracy over RAM and over work."""
    shown = ranked(made)
    taken = made.choice.taken if made.choice else None

    def points(cost: Callable[[Tried], float]) -> list[Point]:
        return [
            Point(t.name, cost(t), 100 * share_of(t), 100 * error_of(t), t is taken) for t in shown
        ]

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES / "report"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template("rehearsal.html.j2").render(
        title=f"{made.problem.name} on {made.problem.board.title}: what to take",
        version=__version__,
        style=Markup((TEMPLATES / "report" / "style.css").read_text(encoding="utf-8")),
        samples=figures.count(len(made.problem.samples)),
        sentences=sentences(made),
        columns=[*columns(made), *_MORE],
        shown=shown,
        taken=taken,
        pictures=[
            Markup(draw("Held-out accuracy, %", "bytes of RAM", points(lambda t: t.ram))),
            Markup(draw("Held-out accuracy, %", "MACs a step", points(lambda t: t.macs))),
        ],
    )
    write_output(path, text, "the page")


def config_text(made: Rehearsal, given: dict[str, Any], old: Path | None, folder: Path) -> str:
    """A tinyodl.toml in `folder` with the choice and the options that the user gave.

    Paths are written relative to the folder.
    """
    assert made.choice is not None
    taken = made.choice.taken
    options = {**given, **taken.options}
    if taken.started and old is not None:
        options["start"] = old
    lines = [f"{HEADER}: {taken.name}.", *(f"# {sentence}" for sentence in _comments(made)), ""]
    lines += [
        f"{name} = {toml_value(_relative(name, value, folder))}" for name, value in options.items()
    ]
    return "\n".join(lines) + "\n"


def _comments(made: Rehearsal) -> Sequence[str]:
    assert made.choice is not None
    taken = made.choice.taken
    return (
        f"Of {len(made.problem.samples):,} samples, held out, it has {held_out(taken)} right.",
        f"It is {' '.join(made.choice.why)}",
    )


def _relative(name: str, value: Any, folder: Path) -> Any:
    is_path = OPTIONS[name].is_path
    if kind_of(OPTIONS[name]) is Path or (isinstance(value, str) and is_path and is_path(value)):
        return Path(os.path.relpath(value, folder)).as_posix()
    return value
