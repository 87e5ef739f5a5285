"""What a board computes beside learning: whether a label is worth it, drift, and a guard.

Each is nodes that training adds, and tensors that survive steps. A step that may learn is

    forward | look | (the host asks: decide) | loss | note | backward | update

`look` runs once for each sample, `note` once a label came, before anything is learned from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyodl import kept
from tinyodl.errors import UserError
from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.ops import looked_at
from tinyodl.ops.query import THRESHOLDS
from tinyodl.training import LOSS
from tinyodl.update_plan import GUARD, QUERY, UpdatePlan

MARGIN, SURE_FROM = "<query.margin>", "<query.threshold>"
DRIFT, HELD = "<drift.seen>", "<guard.held>"
GRID, RECORD, ASKED = "<query.thresholds>", "<query.record>", "<query.counts>"
TRAINED, RECENT = "<drift.trained>", "<drift.recent>"
COUNTS, SPREAD = "<drift.counts>", "<drift.spread>"
MEMORY, HELD_COUNTS = "<guard.features>", "<guard.counts>"
SINCE, BEST = "<guard.since>", "<guard.best>"
KEPT = frozenset({RECORD, ASKED, TRAINED, RECENT, COUNTS, SPREAD, MEMORY, HELD_COUNTS, SINCE, BEST})

# What is counted beside learning goes on counting when the guard goes back.
_COUNTED = {kept.LABELS, kept.CONFUSION, kept.RECENT}

# The part of a step that a node runs in, where it is none of forward, loss, backward and update.
SECTIONS = {
    "Margin": "look",
    "DriftLook": "look",
    "QueryDecision": "decide",
    "QueryCount": "note",
    "DriftRetrain": "note",
    "DriftLearn": "note",
    "GuardHold": "note",
}

GUARD_SLOTS = 4  # samples of each class that are held back
GUARD_MARGIN = 0.1
EXPLORE = 16.0  # of so many samples that are no question, one is asked
CONFIDENCE = 1.645  # standard normal quantile: 95 % on one side
LEAST_TRAINED = 50.0
WINDOW, WARMUP, DRIFT_Z = 32.0, 64.0, 3.0


@dataclass(frozen=True)
class Setting:
    """A number that the host may change while the board runs."""

    name: str
    default: float
    least: float
    most: float


def settings_of(plan: UpdatePlan) -> tuple[Setting, ...]:
    """The settings of what a plan lets the board compute, in the order of the protocol."""
    found: list[Setting] = []
    if plan.query:
        found.append(Setting("query", 1.0, 0.0, 1.0))
        found.append(Setting("least_trained", LEAST_TRAINED, 0.0, 1e6))
    if plan.query == "auto":
        found.append(Setting("error_budget", plan.error_budget, 0.0, 1.0))
        found.append(Setting("confidence", CONFIDENCE, 0.0, 10.0))
        found.append(Setting("explore", EXPLORE, 1.0, 65536.0))
    elif plan.query and plan.query != "always":
        found.append(Setting("threshold", _threshold(plan.query), 0.0, 1e6))
    if plan.drift:
        found.append(Setting("drift", 1.0, 0.0, 1.0))
        found.append(Setting("drift_z", DRIFT_Z, 0.0, 1000.0))
        found.append(Setting("drift_window", WINDOW, 1.0, 65536.0))
        found.append(Setting("drift_warmup", WARMUP, 2.0, 1e6))
        if plan.optimizer == "rls":
            found.append(Setting("drift_retrain", 1.0, 0.0, 1.0))
    if plan.guard:
        every, margin = _guard(plan.guard)
        found.append(Setting("guard", 1.0, 0.0, 1.0))
        found.append(Setting("guard_every", every, 2.0, 65536.0))
        found.append(Setting("guard_margin", margin, 0.0, 1.0))
    return tuple(found)


def _threshold(query: str) -> float:
    found = re.fullmatch(QUERY, query)
    assert found is not None
    return float(found[1])


def _guard(text: str) -> tuple[float, float]:
    """(every how-manieth sample, margin) of "K" or "K:MARGIN"."""
    found = re.fullmatch(GUARD, text)
    assert found is not None
    if int(found[1]) < 2:
        raise UserError("--guard 1 would hold every sample back; give at least 2")
    return float(found[1]), float(found[2]) if found[2] else GUARD_MARGIN


@dataclass(frozen=True)
class Seen:
    """Samples that the last layer has learned from before it goes to the board, in their order."""

    features: Array  # (N, F)
    labels: Array  # (N,)


def watched(graph: Graph, plan: UpdatePlan, seen: Seen | None = None) -> Graph:
    """A training graph with what the plan wants computed beside the learning.

    With `seen`, the board begins as if these samples had come to it, labelled: their centroids are
    those that were learned. Raises UserError where the last layer does not fit.
    """
    if not plan.watches:
        return graph
    if not any(tensor.storage is Storage.PARAMETER for tensor in graph.tensors.values()):
        raise UserError("query, drift and guard go with what learns, and the plan lets nothing")
    output = graph.outputs[0]
    look: list[Node] = []
    note: list[Node] = []
    tensors: list[Tensor] = []
    [loss] = [node for node in graph.nodes if node.outputs == (LOSS,)]
    if plan.drift:
        tensors += _drift_tensors(graph, plan, seen)
        reads: tuple[str, ...] = (output, _features(graph), TRAINED, RECENT, COUNTS, SPREAD)
        look.append(_node("DriftLook", reads, (DRIFT,), Phase.FORWARD))
        for update in (node for node in graph.nodes if node.op == "RecursiveLeastSquares"):
            p, size = update.inputs[4], graph.tensor(update.outputs[0]).size
            attrs = {"size": size, "ridge": plan.ridge}
            note.append(_node("DriftRetrain", (COUNTS, p), (), Phase.BACKWARD, **attrs))
        note.append(_node("DriftLearn", (*reads, DRIFT), (), Phase.BACKWARD))
    if plan.query:
        softmax = plan.loss == "cross-entropy"
        tensors += _query_tensors(plan, 0 if seen is None else len(seen.labels))
        z = (loss.inputs[0] if softmax else output,)
        look.append(_node("Margin", z, (MARGIN,), Phase.FORWARD, softmax=softmax))
        record = RECORD if plan.query == "auto" else ""
        drift = DRIFT if plan.drift else ""
        reads = (output, MARGIN, drift, GRID if record else "", record, ASKED)
        look.append(_node("QueryDecision", reads, (SURE_FROM,), Phase.FORWARD, seed=plan.seed))
        note.append(_node("QueryCount", reads, (), Phase.BACKWARD))
    if plan.guard:
        tensors += _guard_tensors(graph)
        reads = (_features(graph), MEMORY, HELD_COUNTS, SINCE)
        note.append(_node("GuardHold", reads, (HELD,), Phase.BACKWARD))
    at = graph.nodes.index(loss)
    nodes = (*graph.nodes[:at], *look, loss, *note, *graph.nodes[at + 1 :])
    return replace(graph.with_tensors(tensors), nodes=nodes)


def _node(
    op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], phase: Phase, **attrs: object
) -> Node:
    return Node(op, op, inputs, outputs, attrs, phase)


def last_layer(graph: Graph) -> Node:
    """The dense layer whose output is the network's. Raises UserError.

    Views are aside, and Softmax and Sigmoid, which leave the order of the classes as it is.
    """
    node = graph.producer.get(looked_at(graph.outputs[0], graph))
    if node is not None and node.op in ("Softmax", "Sigmoid"):
        node = graph.producer.get(looked_at(node.inputs[0], graph))
    if node is None or node.op != "Gemm" or graph.tensor(node.outputs[0]).size != _classes(graph):
        found = "the input" if node is None else f"'{node.name}' ({node.op})"
        raise UserError(
            "drift and guard watch what the last dense layer reads, and the output of this network "
            f"comes from {found}; end it with one: --head dense:N or --learner rls"
        )
    return node


def _features(graph: Graph) -> str:
    return last_layer(graph).inputs[0]


def _classes(graph: Graph) -> int:
    return graph.tensor(graph.outputs[0]).size


def _query_tensors(plan: UpdatePlan, trained: int) -> Iterable[Tensor]:
    counts = np.array([trained, 0], np.int32)
    yield Tensor(MARGIN, (1,))
    yield Tensor(SURE_FROM, (1,))
    yield Tensor(ASKED, (2,), Storage.STATE, "int32", counts)
    if plan.query == "auto":
        yield Tensor(RECORD, (THRESHOLDS, 2), Storage.STATE)
        yield Tensor(GRID, (THRESHOLDS,), Storage.FLASH, data=thresholds(plan.loss != "one-hot"))


def thresholds(probabilities: bool) -> Array:
    """The grid: sixteenths, and of probabilities, which crowd below 1, 1 - 2^(-t / 2)."""
    t = np.arange(THRESHOLDS)
    return np.asarray(1 - 2 ** (-t / 2) if probabilities else t / THRESHOLDS, np.float32)


def _drift_tensors(graph: Graph, plan: UpdatePlan, seen: Seen | None) -> Iterable[Tensor]:
    classes, size = _classes(graph), graph.tensor(_features(graph)).size
    shapes = {
        TRAINED: (classes, size),
        RECENT: (classes, size),
        COUNTS: (2, classes),
        SPREAD: (3, classes),
    }
    begin = reference(seen, classes) if seen else {}
    yield Tensor(DRIFT, (2,))
    for name, shape in shapes.items():
        yield Tensor(name, shape, Storage.STATE, data=begin.get(name))


def reference(seen: Seen, classes: int) -> dict[str, Array]:
    """What is kept after samples that were learned, in their order.

    The distances are those that a second pass over them would find.
    """
    x, labels = seen.features.astype(np.float64), seen.labels
    there = [x[labels == c] for c in range(classes)]
    trained = np.stack([rows.mean(0) if len(rows) else np.zeros(x.shape[1]) for rows in there])
    recent = trained.copy()
    distances: list[list[float]] = [[] for _ in range(classes)]
    for row, c in zip(x, labels, strict=True):
        recent[c] += (row - recent[c]) / WINDOW
        distances[c].append(float(np.sqrt(np.mean((recent[c] - trained[c]) ** 2))))
    counts = np.array([len(rows) for rows in there], np.float64)
    spread = [(len(d), np.mean(d), len(d) * np.var(d)) if d else (0, 0, 0) for d in distances]
    kept = {
        TRAINED: trained,
        RECENT: trained,
        COUNTS: np.stack([np.minimum(counts, WINDOW), counts]),
        SPREAD: np.array(spread).T,
    }
    return {name: values.astype(np.float32) for name, values in kept.items()}


def guarded(graph: Graph) -> list[Tensor]:
    """What learns, and what its optimiser keeps: what the guard keeps a second copy of."""
    tensors = [t for t in graph.tensors.values() if t.name not in KEPT | _COUNTED]
    learned = [t for t in tensors if t.storage is Storage.PARAMETER]
    return learned + [t for t in tensors if t.storage is Storage.STATE]


def _guard_tensors(graph: Graph) -> Iterable[Tensor]:
    layer = last_layer(graph)
    before = graph.nodes[: graph.nodes.index(layer)]
    read = (graph.tensor(name) for node in before for name in node.inputs if name)
    if any(tensor.storage in (Storage.PARAMETER, Storage.STATE) for tensor in read):
        raise UserError(
            "the guard tests with held-back samples as the last layer reads them, which must not "
            f"change: only '{layer.name}' may learn under it (--update last, --learner rls or elm)"
        )
    classes, size = _classes(graph), graph.tensor(layer.inputs[0]).size
    yield Tensor(HELD, (1,), dtype="int32")
    yield Tensor(MEMORY, (classes, GUARD_SLOTS, size), Storage.STATE)
    yield Tensor(HELD_COUNTS, (classes,), Storage.STATE, "int32")
    yield Tensor(SINCE, (1,), Storage.STATE, "int32")
    words = sum(-(-tensor.nbytes // 4) for tensor in guarded(graph))
    yield Tensor(BEST, (words,), Storage.STATE)


def guard_context(graph: Graph, c: Mapping[str, str]) -> dict[str, Any]:
    """What the guard's functions in net.c are written with; `c` gives the tensors' C names."""
    layer = last_layer(graph)
    classes, slots, size = graph.shape(MEMORY)
    at: dict[str, int] = {}
    words = 0
    for tensor in guarded(graph):
        at[tensor.name] = words
        words += -(-tensor.nbytes // 4)

    def place(name: str, where: str) -> str:
        """A weight as it is now, as it was kept, or as it was compiled."""
        if not name:
            return "NULL"
        if where == "now" or name not in at:
            return c[name]
        if where == "kept":
            return f"{c[BEST]} + {at[name]}"
        data = graph.tensor(name).data
        return f"{c[name]}_initial" if data is not None and data.any() else "NULL"

    weights = (*layer.inputs[1:], "")[:2]
    return {
        "classes": classes,
        "slots": slots,
        "size": size,
        "features": c[MEMORY],
        "counts": c[HELD_COUNTS],
        "best": c[BEST],
        "held": c[HELD],
        "copied": at,
        "now": [place(name, "now") for name in weights],
        "kept": [place(name, "kept") for name in weights],
        "compiled": [place(name, "compiled") for name in weights],
    }
