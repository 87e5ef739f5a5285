"""How numbers are written for people, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from tinyodl.project.manifest import LayerRecord, SharedRecord
from tinyodl.runs.summary import RunSummary

UNKNOWN = "-"


def percent(share: float | None) -> str:
    """0.8384 as "83.8 %"."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def points(before: float | None, after: float | None) -> str:
    """The gain in percentage points with its sign, as "+6.2"."""
    if before is None or after is None:
        return UNKNOWN
    return f"{100 * (after - before):+.1f}"


def mean_percent(shares: Sequence[float]) -> str:
    """Mean and sample standard deviation, as "89.5 ± 2.3 %"; one number where all are alike."""
    if len(set(shares)) < 2:
        return percent(mean(shares) if shares else None)
    return f"{100 * mean(shares):.1f} ± {100 * stdev(shares):.1f} %"


def significant(value: float | None) -> str:
    """Three significant digits: 0.0123, 0.300, 12.3, 1,234; with an exponent beyond a million."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def online(summary: RunSummary) -> str:
    """The share predicted right while learning; where labels come in blocks, at their changes."""
    if summary.labels_in_blocks:
        return f"{percent(summary.accuracy_at_changes)} *"
    return percent(summary.prequential_accuracy)


def count(value: float | None) -> str:
    """1234567 as "1,234,567"; means are rounded."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def size(number: int | None) -> str:
    """Bytes: exactly below 10 KiB, then in KiB, and from 10 MiB on in MiB."""
    if number is None:
        return UNKNOWN
    if number < 10 * 1024:
        return f"{number:,} B"
    value, unit = (number / 1024, "KiB") if number < 10 * 1024**2 else (number / 1024**2, "MiB")
    return f"{value:,.1f} {unit}".replace(".0 ", " ")


def shape(dimensions: tuple[int, ...]) -> str:
    """(1, 16, 1, 50) as "1x16x1x50"."""
    return "x".join(str(dimension) for dimension in dimensions) or "scalar"


def learns(layer: LayerRecord) -> str:
    """The learning part of a layer, as "frozen", "weights and bias" or "12 of 48 inputs, bias"."""
    if layer.channels is not None:
        chosen = layer.channels
        bias = ", bias" if "bias" in layer.parts else ""
        return f"{len(chosen.chosen)} of {chosen.of} {chosen.side}{bias}"
    if layer.updates == "candidate":
        return "chosen by the run"
    if layer.updates == "statistics":
        return "mean and variance"
    learned = [
        part for part in layer.parts if layer.updates in ("weights", part) or part in layer.also
    ]
    return " and ".join(learned) or "frozen"


def together(shared: SharedRecord) -> str:
    """A tensor that layers share, as "learned together: a.weight, b.weight (one tensor ...)"."""
    name = "" if shared.initializer is None else f", {shared.initializer}"
    return f"learned together: {', '.join(shared.uses)} (one tensor in the file{name})"
