"""How --update auto chose, as a table for people."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tinyodl.project.choice_record import CandidateRecord, ChoiceRecord
from tinyodl.report.columns import table_of
from tinyodl.report.figures import UNKNOWN, count


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
