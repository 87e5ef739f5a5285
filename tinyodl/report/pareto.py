"""A picture of a choice: accuracy over a cost, a point for each candidate, and the best of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from tinyodl.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, frame, ticks
from tinyodl.text import page


@dataclass(frozen=True)
class Point:
    """A candidate: what it costs, its accuracy in percent with the standard error, its series."""

    name: str
    cost: float
    accuracy: float
    error: float
    taken: bool = False


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in accuracy at the same or a smaller cost, the cheapest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.accuracy)):
        if not found or point.accuracy > found[-1].accuracy:
            found.append(point)
    return found


def draw(title: str, along: str, points: Sequence[Point]) -> str:
    """The picture as one SVG element; the costs are on a logarithmic axis. "" without points."""
    if not points:
        return ""
    shares = [point.accuracy for point in points]
    wider = 0.5 if max(shares) - min(shares) < 1 else 0.0  # points; less would look like much
    marks = ticks(min(shares) - wider, max(shares) + wider)
    low, high = marks[0], marks[-1]
    left, right = (f(log10(p.cost) for p in points) for f in (min, max))
    left, right = left - 0.05, right + 0.05

    def x(cost: float) -> float:
        return LEFT + (log10(cost) - left) * (WIDTH - LEFT - RIGHT) / (right - left)

    def y(accuracy: float) -> float:
        return HEIGHT - BOTTOM - (accuracy - low) * (HEIGHT - TOP - BOTTOM) / (high - low)

    parts = frame("curves pareto", title, [(mark, y(mark)) for mark in marks], along)
    costs = [point.cost for point in points]
    for cost in _round_costs(10**left, 10**right) or sorted({min(costs), max(costs)}):
        parts.append(
            f'<text class="axis" x="{x(cost):.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="middle">{cost:,.6g}</text>'
        )
    line = " ".join(f"{x(p.cost):.1f},{y(p.accuracy):.1f}" for p in front(points))
    parts.append(f'<polyline class="series-0" points="{line}"/>')
    for point in sorted(points, key=lambda p: p.taken):
        told = f"{point.name}: {point.accuracy:.1f} ± {point.error:.1f} %, {point.cost:,.6g}"
        parts.append(
            f'<circle class="{"taken" if point.taken else "tried"}" cx="{x(point.cost):.1f}" '
            f'cy="{y(point.accuracy):.1f}" r="{6 if point.taken else 3.5}">'
            f"<title>{page(told)}</title></circle>"
        )
    return "\n".join([*parts, "</svg>"])


def _round_costs(low: float, high: float) -> list[float]:
    """Costs with one digit within the range, two to six; [] where there are not as many."""
    found = [
        digit * 10.0**power
        for power in range(int(log10(low)) - 1, int(log10(high)) + 1)
        for digit in (1, 2, 5)
        if low <= digit * 10.0**power <= high
    ]
    return found[:: -(-len(found) // 6)] if len(found) > 1 else []
