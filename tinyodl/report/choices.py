"""How --update auto chose, as a table and as pictures for people."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from tinyodl.project.choice_record import CandidateRecord, ChoiceRecord
from tinyodl.report.columns import table_of
from tinyodl.report.figures import UNKNOWN, count
from tinyodl.report.pareto import Point, draw


def held_out(candidate: CandidateRecord) -> str:
    """The accuracy with its standard error, as "93.2 ± 1.1 %"."""
    if candidate.accuracy is None or candidate.error is None:
        return UNKNOWN
    return f"{100 * candidate.accuracy:.1f} ± {100 * candidate.error:.1f} %"


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return UNKNOWN if value is None else f"{value:.3g}"


def print_choice(console: Console, choice: ChoiceRecord) -> None:
    """A row for each plan that was looked at, then the reasons."""
    table = table_of("plan", "learns", "RAM, B#", "step, ms#", "mJ#", "held out#", "",
                     title="What --update auto looked at")  # fmt: skip
    for each in choice.candidates:
        style = "green" if each.verdict == "chosen" else ""
        table.add_row(
            Text(each.name, style), each.learns, count(each.ram), number(each.milliseconds),
            number(each.millijoules), held_out(each), Text(each.verdict, style),
        )  # fmt: skip
    console.print(table)
    for sentence in choice.sentences:
        console.print(sentence)


def pictures(choice: ChoiceRecord) -> list[str]:
    """Accuracy over RAM and over time as SVG elements; [] where nothing was tried."""
    costs = {
        "bytes of RAM": lambda each: float(each.ram),
        "ms a step, modelled": lambda each: each.milliseconds,
    }
    made = (_drawn(choice, along, cost) for along, cost in costs.items())
    return [picture for picture in made if picture]


def _drawn(
    choice: ChoiceRecord, along: str, cost: Callable[[CandidateRecord], float | None]
) -> str:
    points = [
        Point(each.name, taken, 100 * each.accuracy, 100 * each.error, each.verdict == "chosen")
        for each in choice.candidates
        if each.accuracy is not None and each.error is not None and (taken := cost(each))
    ]
    return draw("Held-out accuracy, %", along, points)
