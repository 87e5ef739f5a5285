"""What a training graph counts of its own predictions; see `tinyodl.ops.metrics`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.kept import (
    ANOMALIES,
    BINS,
    CONFUSION,
    HISTOGRAM,
    MOMENTS,
    NO_THRESHOLD,
    RECENT,
    THRESHOLD,
    bin_edges,
    bins_of,
)
from tinyodl.ops.metrics import MINIMUM
from tinyodl.project.plan import LABELLED, UpdatePlan


def with_counts(graph: Graph, plan: UpdatePlan, loss: str, errors: Array | None) -> Graph:
    """The graph whose last node is the loss, with what is counted behind it.

    `errors` are those of samples that were there before. Raises UserError.
    """
    if plan.reconstructs:
        return _of_errors(graph, plan, loss, errors)
    if not plan.metrics:
        return graph
    if plan.loss not in LABELLED:
        raise UserError(f"metrics are of class labels; loss {plan.loss} has none")
    y = graph.outputs[0]
    outputs = graph.tensor(y).size
    made = [
        Tensor(CONFUSION, (outputs, outputs), Storage.STATE, "int32"),
        Tensor(RECENT, (2,), Storage.STATE),
    ]
    attrs = {"fading": plan.fading, "choices": plan.labels is not None}
    operands = (y, *(tensor.name for tensor in made))
    return _with(graph, [Node("CountConfusion", "metrics", operands, (), attrs)], made)


def _of_errors(graph: Graph, plan: UpdatePlan, loss: str, errors: Array | None) -> Graph:
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
    nodes = [
        Node("CountAnomaly", "anomalies", (ANOMALIES,), ()),
        Node("ErrorStatistics", "errors", operands, (), attrs),
    ]
    return _with(graph, nodes, made)


def _with(graph: Graph, nodes: list[Node], tensors: list[Tensor]) -> Graph:
    counted = tuple(replace(node, phase=Phase.UPDATE) for node in nodes)
    return replace(graph, nodes=(*graph.nodes, *counted)).with_tensors(tensors)


class _Begun:
    """The statistics of errors that were there before, as the kernels would have made them."""

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
        """The error below which so many lie, on a straight line inside a bin."""
        ends = np.cumsum(self.histogram)
        at = min(int(np.searchsorted(ends, count)), BINS - 1)
        low, high = bin_edges()[at : at + 2].tolist()
        inside = self.histogram[at]
        return float(low + (high - low) * (count - ends[at] + inside) / inside) if inside else low
