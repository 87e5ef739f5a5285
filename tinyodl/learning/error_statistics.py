"""The statistics of reconstruction errors in a training graph; see `tinyodl.ops.metrics`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.state_names import (
    ANOMALIES,
    BINS,
    HISTOGRAM,
    MOMENTS,
    NO_THRESHOLD,
    THRESHOLD,
    bin_edges,
    bins_of,
)
from tinyodl.ops.metrics import MINIMUM
from tinyodl.project.plan import UpdatePlan


def with_error_statistics(graph: Graph, plan: UpdatePlan, loss: str, errors: Array | None) -> Graph:
    """The graph with the error statistics added. Its last node is the loss, the error to count.

    `errors` are the errors of earlier samples.
    """
    kind, value = plan.threshold_rule
    begun = _Begun(kind, value, errors)
    made = [
        Tensor(MOMENTS, (3,), Storage.STATE, data=begun.moments),
        Tensor(HISTOGRAM, (BINS,), Storage.STATE, data=begun.histogram),
        Tensor(THRESHOLD, (1,), Storage.STATE, data=begun.threshold),
        Tensor(ANOMALIES, (3, 2), Storage.STATE, "int32"),
    ]
    attrs = {
        "kind": kind,
        "value": value,
        "forgetting": plan.forgetting,
        "flagged": plan.learn_flagged,
    }
    operands = (loss, MOMENTS, HISTOGRAM, THRESHOLD)
    nodes = (
        Node("CountAnomaly", "anomalies", (ANOMALIES,), (), phase=Phase.UPDATE),
        Node("ErrorStatistics", "errors", operands, (), attrs, Phase.UPDATE),
    )
    return replace(graph, nodes=(*graph.nodes, *nodes)).with_tensors(made)


class _Begun:
    """The statistics of earlier errors, as the kernels would have made them."""

    def __init__(self, kind: str, value: float, errors: Array | None) -> None:
        given = np.zeros(0) if errors is None else np.asarray(errors, np.float64)
        mean, variance = (given.mean(), given.var()) if given.size else (0.0, 0.0)
        self.moments = np.array([mean, variance, given.size], np.float32)
        self.histogram = np.bincount(bins_of(given), minlength=BINS).astype(np.float32)
        threshold = NO_THRESHOLD
        if kind == "fixed":
            threshold = value
        elif given.size >= MINIMUM:
            threshold = mean + value * np.sqrt(variance)
            if kind == "percentile":
                threshold = self._below(given.size * value / 100)
        self.threshold = np.array([threshold], np.float32)

    def _below(self, count: float) -> float:
        """The error below which so many lie, interpolated linearly inside a bin."""
        ends = np.cumsum(self.histogram)
        at = min(int(np.searchsorted(ends, count)), BINS - 1)
        low, high = bin_edges()[at : at + 2].tolist()
        inside = self.histogram[at]
        return float(low + (high - low) * (count - ends[at] + inside) / inside) if inside else low
