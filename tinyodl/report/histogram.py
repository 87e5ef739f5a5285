"""The histogram of reconstruction errors as SVG, with the threshold in it."""

from __future__ import annotations

from math import ceil, floor, log2

from tinyodl.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, frame, ticks
from tinyodl.report.figures import significant
from tinyodl.runs.metrics import ErrorMetrics


def draw(title: str, metrics: ErrorMetrics) -> str:
    """Bars over the error, whose axis is logarithmic. "" where nothing was counted."""
    counts, edges = metrics.histogram, metrics.edges
    there = [index for index, count in enumerate(counts) if count > 0]
    if not there:
        return ""
    low, high = log2(edges[there[0]]), log2(edges[there[-1] + 1])
    if metrics.threshold:
        low, high = min(low, log2(metrics.threshold)), max(high, log2(metrics.threshold))
    low, high = floor(low), ceil(high + 0.05)
    marks = ticks(0, max(counts))

    def x(error: float) -> float:
        return LEFT + (log2(error) - low) * (WIDTH - LEFT - RIGHT) / (high - low)

    def y(count: float) -> float:
        return HEIGHT - BOTTOM - count * (HEIGHT - TOP - BOTTOM) / marks[-1]

    along = "mean squared error"
    parts = frame("curves histogram", title, [(mark, y(mark)) for mark in marks], along)
    for index in there:
        left, right = x(edges[index]), x(edges[index + 1])
        above = metrics.threshold is not None and edges[index] >= metrics.threshold
        parts.append(
            f'<rect class="{"above" if above else "below"}" x="{left:.1f}" '
            f'y="{y(counts[index]):.1f}" width="{max(right - left - 0.5, 0.5):.1f}" '
            f'height="{y(0) - y(counts[index]):.1f}"><title>{significant(edges[index])} to '
            f"{significant(edges[index + 1])}: {counts[index]:g}</title></rect>"
        )
    step = max(1, ceil((high - low) / 8))
    for exponent in range(low, high + 1, step):
        parts.append(
            f'<text class="axis" x="{x(2.0**exponent):.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="middle">{2.0**exponent:.3g}</text>'
        )
    if metrics.threshold:
        at = x(metrics.threshold)
        parts.append(
            f'<line class="bound" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{y(0):.1f}"/>'
        )
    return "\n".join([*parts, "</svg>"])
