"""Pictures of a choice: accuracy over what a plan takes, a point for each plan."""

from __future__ import annotations

from collections.abc import Sequence

from tinyodl.project.choice_record import CandidateRecord, ChoiceRecord
from tinyodl.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, frame, ticks
from tinyodl.text import page

Point = tuple[CandidateRecord, float, float, float]  # cost, accuracy and its error, in percent


def pictures(choice: ChoiceRecord) -> list[str]:
    """Accuracy over RAM and over time as SVG elements; () where nothing was tried."""
    tried = [
        (each, 100 * each.accuracy, 100 * (each.error or 0.0))
        for each in choice.candidates
        if each.accuracy is not None
    ]
    by_ram = [(each, float(each.ram), share, error) for each, share, error in tried]
    by_time = [
        (each, each.milliseconds, share, error)
        for each, share, error in tried
        if each.milliseconds is not None
    ]
    made = (_drawn(by_ram, "bytes of RAM"), _drawn(by_time, "ms a step, modelled"))
    return [picture for picture in made if picture]


def _drawn(points: Sequence[Point], along: str) -> str:
    if not points:
        return ""
    rows = ticks(
        min(share - error for _, _, share, error in points),
        max(share + error for _, _, share, error in points),
    )
    columns = ticks(min(cost for _, cost, _, _ in points), max(cost for _, cost, _, _ in points))

    def x(cost: float) -> float:
        span = columns[-1] - columns[0]
        return LEFT + (cost - columns[0]) * (WIDTH - LEFT - RIGHT) / span

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - (share - rows[0]) * (HEIGHT - TOP - BOTTOM) / (rows[-1] - rows[0])

    marks = [(mark, y(mark)) for mark in rows]
    parts = frame("curves", "Held-out accuracy, %", marks, along)
    parts += [
        f'<text class="axis" x="{x(mark):.1f}" y="{HEIGHT - BOTTOM + 16}" '
        f'text-anchor="middle">{mark:,g}</text>'
        for mark in columns
    ]
    for each, cost, share, error in points:
        chosen = each.verdict == "chosen"
        told = f"{each.name}: {share:.1f} ± {error:.1f} %, {cost:,.6g} {along}"
        at = f"{x(cost):.1f}"
        parts.append(
            f'<g class="series-{2 if chosen else 0}"><title>{page(told)}</title>'
            f'<line x1="{at}" x2="{at}" y1="{y(share - error):.1f}" y2="{y(share + error):.1f}"/>'
            f'<circle cx="{at}" cy="{y(share):.1f}" r="{6 if chosen else 3.5}"/></g>'
        )
    return "\n".join([*parts, "</svg>"])
