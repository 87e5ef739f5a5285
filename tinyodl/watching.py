"""What a board computes beside learning: whether a label is worth it, drift, and a guard.

Each is nodes that training adds, and tensors that survive steps. A step that may learn is

    forward | look | (the host asks: decide) | loss | note | backward | update

`look` runs once for each sample, `note` once a label came, before anything is learned from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyodl import feature_cache, kept
from tinyodl.behind import changing_nodes, place_before
from tinyodl.errors import UserError
from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.beside.cache.section import MOST_REPLAYED
from tinyodl.learning.beside.guard.section import Guard
from tinyodl.learning.beside.query.section import Query
from tinyodl.ops import looked_at
from tinyodl.ops.feature_cache import FLASH_HEADER, RECALLS
from tinyodl.ops.metrics import SKIPPED
from tinyodl.ops.query import THRESHOLDS
from tinyodl.ops.shared import Symbol
from tinyodl.outliers import FACTOR, REACH, SETTING
from tinyodl.project.plan import UpdatePlan
from tinyodl.training import LOSS, SUM, state_name

MARGIN, SURE_FROM = "<query.margin>", "<query.threshold>"
DRIFT, HELD = "<drift.seen>", "<guard.held>"
GRID, RECORD, ASKED = "<query.thresholds>", "<query.record>", "<query.counts>"
TRAINED, RECENT = "<drift.trained>", "<drift.recent>"
COUNTS, SPREAD = "<drift.counts>", "<drift.spread>"
MEMORY, MEMORY_SCALES = "<guard.features>", "<guard.scales>"
HELD_COUNTS, SINCE, BEST = "<guard.counts>", "<guard.since>", "<guard.best>"
_OF_GUARD = (MEMORY, MEMORY_SCALES, HELD_COUNTS, SINCE, BEST)
KEPT = frozenset({REACH, RECORD, ASKED, TRAINED, RECENT, COUNTS, SPREAD, *_OF_GUARD})

# What is counted and kept beside learning stays when the guard goes back.
_STAYS = {kept.LABELS, kept.CONFUSION, kept.RECENT, *feature_cache.TENSORS}

# The part of a step that a node runs in, where it is none of forward, loss, backward and update.
SECTIONS = {
    "Margin": "look",
    "DriftLook": "look",
    "QueryDecision": "decide",
    "QueryCount": "note",
    "DriftRetrain": "note",
    "DriftLearn": "note",
    "GuardHold": "note",
    "Retest": "retest",
}

GUARD_SLOTS = 4  # samples of each class that are held back
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


def settings_of(plan: UpdatePlan, graph: Graph | None = None) -> tuple[Setting, ...]:
    """The settings of what a plan lets the board compute, in the order of the protocol.

    `graph` is the training graph, which says whether the board gates outliers.
    """
    found: list[Setting] = []
    if plan.cache:
        most = float(MOST_REPLAYED) if plan.summed else 1.0
        found.append(Setting("replay", plan.replay, 0.0, most))
    if plan.query:
        found.append(Setting("query", 1.0, 0.0, 1.0))
        found.append(Setting("least_trained", LEAST_TRAINED, 0.0, 1e6))
    if plan.query == "auto":
        found.append(Setting("error_budget", plan.error_budget, 0.0, 1.0))
        found.append(Setting("confidence", CONFIDENCE, 0.0, 10.0))
        found.append(Setting("explore", EXPLORE, 1.0, 65536.0))
    query = Query.of(plan)
    if query and query.margin is not None:
        found.append(Setting("threshold", query.margin, 0.0, 1e6))
    if plan.drift:
        found.append(Setting("drift", 1.0, 0.0, 1.0))
        found.append(Setting("drift_z", DRIFT_Z, 0.0, 1000.0))
        found.append(Setting("drift_window", WINDOW, 1.0, 65536.0))
        found.append(Setting("drift_warmup", WARMUP, 2.0, 1e6))
        if plan.optimizer == "rls":
            found.append(Setting("drift_retrain", 1.0, 0.0, 1.0))
    guard = Guard.of(plan)
    if guard:
        found.append(Setting("guard", 1.0, 0.0, 1.0))
        found.append(Setting("guard_every", guard.every, 2.0, 65536.0))
        found.append(Setting("guard_margin", guard.margin, 0.0, 1.0))
    if graph and REACH in graph.tensors:
        found.append(Setting(SETTING, FACTOR, 0.0, 1e6))
    return tuple(found)


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
    classes = 1 if plan.reconstructs else _classes(graph)
    among = {"among": classes if plan.labels is None else Symbol("choices")}
    look: list[Node] = []
    note: list[Node] = []
    tensors: list[Tensor] = []
    [loss] = [node for node in graph.nodes if node.outputs == (LOSS,)]
    if plan.drift:
        tensors += _drift_tensors(graph, classes, seen)
        reads: tuple[str, ...] = (output, _features(graph), TRAINED, RECENT, COUNTS, SPREAD)
        look.append(_node("DriftLook", reads, (DRIFT,), Phase.FORWARD, **among))
        for update in (node for node in graph.nodes if node.op == "RecursiveLeastSquares"):
            begun = update.inputs[5]
            note.append(_node("DriftRetrain", (COUNTS, begun), (), Phase.BACKWARD))
        skipped = "label == NET_SKIPPED" + (f" || {SKIPPED}" if not plan.learn_flagged else "")
        label = f"{skipped} ? -1 : 0" if plan.reconstructs else "label"
        rule = {**among, "label": Symbol(label)}
        note.append(_node("DriftLearn", (*reads, DRIFT), (), Phase.BACKWARD, **rule))
    if plan.query:
        softmax = plan.loss == "cross-entropy"
        tensors += _query_tensors(plan, 0 if seen is None else len(seen.labels))
        z = (loss.inputs[0] if softmax else output,)
        look.append(_node("Margin", z, (MARGIN,), Phase.FORWARD, softmax=softmax, **among))
        record = RECORD if plan.query == "auto" else ""
        drift = DRIFT if plan.drift else ""
        reads = (output, MARGIN, drift, GRID if record else "", record, ASKED)
        look.append(_node("QueryDecision", reads, (SURE_FROM,), Phase.FORWARD, seed=plan.seed))
        note.append(_node("QueryCount", reads, (), Phase.BACKWARD, **among))
    at = graph.nodes.index(loss)
    ahead = graph.nodes[:at]
    if plan.guard:
        layer = _alone_in_change(graph, ahead)
        if layer:
            x = layer.inputs[0]
        elif plan.guard_memory == "flash":
            raise UserError(
                "--guard-memory flash is for one layer that learns, the last: the guard tests "
                "several by exchanging them with their copy; keep it in RAM"
            )
        else:
            x, ahead = _with_retest(graph, ahead)
        tensors += _guard_tensors(graph, plan, graph.tensor(x))
        reads = (x, MEMORY, HELD_COUNTS, SINCE, _scales_of(graph, x))
        note.append(_node("GuardHold", reads, (HELD,), Phase.BACKWARD))
    nodes = (*ahead, *look, loss, *note, *graph.nodes[at + 1 :])
    return replace(graph.with_tensors(tensors), nodes=nodes)


def _node(
    op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], phase: Phase, **attrs: object
) -> Node:
    return Node(op, op, inputs, outputs, attrs, phase)


def _last_node(graph: Graph) -> Node | None:
    """What the output comes from; None for the input.

    Views are aside, and Softmax and Sigmoid, which leave the order of the classes as it is.
    """
    node = graph.producer.get(looked_at(graph.outputs[0], graph))
    if node is not None and node.op in ("Softmax", "Sigmoid"):
        node = graph.producer.get(looked_at(node.inputs[0], graph))
    return node


def last_layer(graph: Graph) -> Node:
    """The dense layer whose output is the network's, as `_last_node`. Raises UserError."""
    node = _last_node(graph)
    if node is None or node.op != "Gemm" or graph.tensor(node.outputs[0]).size != _classes(graph):
        found = "the input" if node is None else f"'{node.name}' ({node.op})"
        raise UserError(
            "drift watches what the last dense layer reads, and the output of this network comes "
            f"from {found}; end it with one: --head dense:N or --learner rls"
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


def _drift_tensors(graph: Graph, classes: int, seen: Seen | None) -> Iterable[Tensor]:
    size = graph.tensor(_features(graph)).size
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
    """What learns, and what its optimiser keeps: what the guard keeps a second copy of.

    With a cache no sum of gradients outlives its step.
    """
    learned = [t for t in graph.tensors.values() if t.storage is Storage.PARAMETER]
    stays = set(KEPT | _STAYS)
    if feature_cache.BOOKS in graph.tensors:
        stays |= {state_name(tensor.name, SUM) for tensor in learned}
    state = [t for t in graph.tensors.values() if t.storage is Storage.STATE]
    return learned + [t for t in state if t.name not in stays]


_CHANGING = frozenset({Storage.PARAMETER, Storage.STATE})


def _alone_in_change(graph: Graph, forward: tuple[Node, ...]) -> Node | None:
    """The last dense layer, where nothing else changes: a copy can be tested by itself."""
    changing = [n for n in changing_nodes(graph, forward, _CHANGING) if n.op not in RECALLS]
    if [node.op for node in changing] != ["Gemm"]:
        return None
    return changing[0] if changing[0] == _last_node(graph) else None


def _with_retest(graph: Graph, forward: tuple[Node, ...]) -> tuple[str, tuple[Node, ...]]:
    """The tensor that the guard holds back, and the nodes with what brings it back.

    Raises UserError where what changes does not begin behind one tensor.
    """
    forward = tuple(node for node in forward if node.op not in RECALLS)
    found = place_before(graph, forward, _CHANGING)
    if found is None:
        changing = ", ".join(f"'{n.name}'" for n in changing_nodes(graph, forward, _CHANGING))
        raise UserError(
            "the guard tests with held-back samples as the first layer reads them that changes, "
            f"and nothing but that may reach what follows; here change {changing}. Let only layers "
            "behind one place learn, as a head does"
        )
    x, behind = found
    retest = _node("Retest", (x, MEMORY, _scales_of(graph, x)), (), Phase.FORWARD)
    recall = [node for node in graph.nodes if node.op in RECALLS]
    return x, (*(n for n in forward if n not in behind), retest, *recall, *behind)


def _scales_of(graph: Graph, x: str) -> str:
    """The tensor of the scales of features that are held back; "" where they are int8."""
    return "" if graph.tensor(x).dtype == "int8" else MEMORY_SCALES


def _guard_tensors(graph: Graph, plan: UpdatePlan, x: Tensor) -> Iterable[Tensor]:
    places = (_classes(graph), GUARD_SLOTS)
    yield Tensor(HELD, (1,), dtype="int32")
    yield Tensor(MEMORY, (*places, x.size), Storage.STATE, "int8")
    if x.dtype != "int8":
        yield Tensor(MEMORY_SCALES, places, Storage.STATE)
    yield Tensor(HELD_COUNTS, places[:1], Storage.STATE, "int32")
    yield Tensor(SINCE, (2,), Storage.STATE, "int32")
    if plan.guard_memory == "ram":
        yield Tensor(BEST, (_places(graph)[1],), Storage.STATE)


def _places(graph: Graph) -> tuple[dict[str, int], int]:
    """Where each guarded tensor begins in the copy, in words, and the words of the whole copy."""
    at: dict[str, int] = {}
    words = 0
    for tensor in guarded(graph):
        at[tensor.name] = words
        words += -(-tensor.nbytes // 4)
    return at, words


def guard_flash(graph: Graph) -> int:
    """The bytes of flash that the guard keeps the best parameters in; 0 where that is RAM."""
    if MEMORY not in graph.tensors or BEST in graph.tensors:
        return 0
    return FLASH_HEADER + 4 * _places(graph)[1]


def guard_context(graph: Graph, c: Mapping[str, str]) -> dict[str, Any]:
    """What the guard's functions in net.c are written with; `c` gives the tensors' C names."""
    classes, slots, size = graph.shape(MEMORY)
    at, words = _places(graph)
    flash = guard_flash(graph)

    def place(name: str, where: str) -> str:
        """A weight as it is now, as it was kept, or as it was compiled."""
        if not name:
            return "NULL"
        if where == "now" or name not in at:
            return c[name]
        if where == "kept":
            return f"kept_at({at[name]})" if flash else f"{c[BEST]} + {at[name]}"
        data = graph.tensor(name).data
        return f"{c[name]}_initial" if data is not None and data.any() else "NULL"

    several = any(node.op == "Retest" for node in graph.nodes)
    weights = () if several else (*last_layer(graph).inputs[1:], "")[:2]
    return {
        "several": several,
        "classes": classes,
        "slots": slots,
        "size": size,
        "features": c[MEMORY],
        "scales": c.get(MEMORY_SCALES),
        "counts": c[HELD_COUNTS],
        "since": c[SINCE],
        "best": c.get(BEST),
        "flash": flash,
        "bytes": 4 * words,
        "held": c[HELD],
        "copied": at,
        "now": [place(name, "now") for name in weights],
        "kept": [place(name, "kept") for name in weights],
        "compiled": [place(name, "compiled") for name in weights],
    }
