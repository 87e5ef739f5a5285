"""Counts and statistics of reconstruction errors, made at every TRAIN before it learns.

CountAnomaly      anomalies[label][flagged] += 1: label 0 normal, 1 an anomaly, 2 in the place of
                  -1, not known
ErrorStatistics   mean, variance and histogram of the reconstruction errors, and from these the
                  threshold above which an error is flagged

The statistics leave out samples labelled as anomalies, and without the attribute `flagged` also
unlabelled ones above the threshold; but for percentile:P these count at the threshold, or it would
fall without end. With r = 1 / n, or 1 - forgetting if this is more, mean and variance follow the
formulas of `Standardize`, and the counts of the histogram are multiplied by `forgetting` each time.
The threshold, from `MINIMUM` samples on:

    gaussian:Z     mean + Z sqrt(variance)
    percentile:P   P % of the histogram lie below it, interpolated linearly inside a bin
    fixed:T        T, always

The histogram has four bins an octave: bin i begins at 2^(FIRST + i / 4 rounded down) times
1, 1.25, 1.5 or 1.75; what is beyond its ends is in the first or the last bin.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.learning.state_names import BINS
from tinyodl.ops.shared import Call, Operator, Ref, Symbol, register
from tinyodl.ops.shared.step import SKIPPED

MINIMUM = 16
KINDS = ("gaussian", "percentile", "fixed")


def _anomaly(node: Node, graph: Graph) -> Call:
    return Call("count_anomaly", (Symbol("label"), Symbol("anomalous"), Ref(node.inputs[0])))


def _statistics(node: Node, graph: Graph) -> Call:
    attrs = node.attrs
    forgetting, value = float(attrs["forgetting"]), float(attrs["value"])
    operands = map(Ref, node.inputs)
    function = f"error_statistics_{attrs['kind']}"
    flagged = 0 if attrs["flagged"] else Symbol(SKIPPED)
    return Call(function, (Symbol("label"), flagged, forgetting, value, *operands))


register(Operator("CountAnomaly", _anomaly, "metrics_f32.h", part="count"))
register(
    Operator(
        "ErrorStatistics",
        _statistics,
        "metrics_f32.h",
        part="count",
        macs=lambda n, g: BINS if n.attrs["forgetting"] < 1 else 2,
    )
)
