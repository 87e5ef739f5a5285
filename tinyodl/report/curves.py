"""The learning curve as SVG: accuracy on samples before learning from them, and the loss.

Drawn by hand: the page's style sheet then colours it for light and dark alike, which a plotting
library's files do not take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, floor, log10

from tinyodl.runs.log import Run
from tinyodl.runs.record import Step
from tinyodl.text import page

WIDTH = 500
HEIGHT = 250
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 30, 36
SERIES_COLORS = 8  # --series-0 to --series-7 in the style sheet


@dataclass(frozen=True)
class Curve:
    """One run's line: `values[i]` after learning from i + 1 samples, None where unknown."""

    name: str
    values: tuple[float | None, ...]
    color: int


def window(steps: int) -> int:
    """Steps that one point of a curve averages: a fifth of the run, 10 to 100."""
    return max(10, min(100, steps // 5))


def rolling_mean(values: Sequence[float | None], width: int) -> tuple[float | None, ...]:
    """Means over the last `width` values; None if one of them is unknown.

    At the beginning, where there are fewer, a mean takes at least half of that many.
    """
    least = min(width, len(values)) // 2
    sums = [0.0, *accumulate(value or 0.0 for value in values)]
    gaps = [0, *accumulate(value is None for value in values)]
    means: list[float | None] = []
    for end in range(1, len(values) + 1):
        begin = max(end - width, 0)
        known = gaps[end] == gaps[begin] and end >= least
        means.append((sums[end] - sums[begin]) / (end - begin) if known else None)
    return tuple(means)


def accuracy_curves(runs: Sequence[Run], names: Sequence[str]) -> list[Curve]:
    """Prequential accuracy in percent, of the runs that have labels."""
    return [
        Curve(
            name,
            rolling_mean(
                [100.0 * (step.predicted == step.label) for step in _labelled(run)],
                window(len(_labelled(run))),
            ),
            index % SERIES_COLORS,
        )
        for index, (run, name) in enumerate(zip(runs, names, strict=True))
        if _labelled(run)
    ]


def _labelled(run: Run) -> list[Step]:
    return [step for step in run.steps if step.label is not None]


def _judged(run: Run) -> list[Step]:
    """The steps that have a loss, also if it is not a number."""
    return [step for step in run.steps if not step.unlabelled]


def loss_curves(runs: Sequence[Run], names: Sequence[str]) -> list[Curve]:
    """Mean loss before the update."""
    return [
        Curve(
            name,
            rolling_mean([step.loss for step in _judged(run)], window(len(_judged(run)))),
            index % SERIES_COLORS,
        )
        for index, (run, name) in enumerate(zip(runs, names, strict=True))
        if any(step.loss is not None for step in run.steps)
    ]


def draw(title: str, curves: Sequence[Curve], top: float | None = None) -> str:
    """The curves as one SVG element; `top` is the largest value there can be. "" if none."""
    known = [value for curve in curves for value in curve.values if value is not None]
    if not known:
        return ""
    steps = max(len(curve.values) for curve in curves)
    low, high = min(known), max(known)
    if low < 0.5 * high or low == high:
        low = 0.0
    marks = ticks(low, high if top is None else min(high, top))
    low, high = min(low, marks[0]), max(high, marks[-1])

    def x(step: float) -> float:
        return LEFT + step * (WIDTH - LEFT - RIGHT) / max(steps, 1)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) * (HEIGHT - TOP - BOTTOM) / ((high - low) or 1)

    parts = frame("curves", title, [(mark, y(mark)) for mark in marks], "samples learned from")
    for mark in ticks(0, steps):
        if mark == int(mark):
            parts.append(
                f'<text class="axis" x="{x(mark):.1f}" y="{HEIGHT - BOTTOM + 16}" '
                f'text-anchor="middle">{mark:,.0f}</text>'
            )
    for curve in curves:
        for line in _lines(curve):
            points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in line)
            parts.append(
                f'<polyline class="series-{curve.color}" points="{points}">'
                f"<title>{page(curve.name)}</title></polyline>"
            )
    return "\n".join([*parts, "</svg>"])


def frame(kind: str, title: str, marks: Sequence[tuple[float, float]], along: str) -> list[str]:
    """The frame of a drawing: its opening, the title, and the name of its horizontal axis.

    `kind` are its classes in the style sheet; `marks` are the grid's values and where they lie.
    """
    lines = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{LEFT - 8}" y="{y + 3.5:.1f}" text-anchor="end">{mark:g}</text>'
        for mark, y in marks
    ]
    return [
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{page(title)}">',
        f'<text class="title" x="{LEFT}" y="16">{page(title)}</text>',
        *lines,
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{along}</text>',
    ]


def ticks(low: float, high: float) -> list[float]:
    """Two to eight round numbers from below `low` to above `high`.

    A range smaller than a millionth counts as one millionth: what is flat shall look flat.
    """
    span = max(high - low, 1e-6 * max(abs(low), abs(high), 1.0))
    step = 10.0 ** floor(log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    first = floor(low / step + 1e-9)
    last = ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def _lines(curve: Curve) -> list[list[tuple[int, float]]]:
    """The stretches between gaps, as (samples learned from, value)."""
    stretches: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(curve.values):
        if value is None:
            stretches.append([])
        else:
            stretches[-1].append((index + 1, value))
    return [stretch for stretch in stretches if stretch]
