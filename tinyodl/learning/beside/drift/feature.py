"""Drift, samples moving away from the learned ones: nodes, settings and words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinyodl.graph import Array, Phase, Storage, Tensor
from tinyodl.learning.beside.drift import operators  # noqa: F401 (into the table)
from tinyodl.learning.beside.record import Feature, Seen, Setting, Step, node
from tinyodl.learning.frozen_part import last_layer
from tinyodl.learning.learners import rule_of
from tinyodl.learning.tensors import state_name
from tinyodl.ops.shared import Symbol
from tinyodl.ops.shared.step import SKIPPED
from tinyodl.project.plan import UpdatePlan

DRIFT = "<drift.seen>"
TRAINED, RECENT = "<drift.trained>", "<drift.recent>"
COUNTS, SPREAD = "<drift.counts>", "<drift.spread>"

WINDOW, WARMUP, DRIFT_Z = 32.0, 64.0, 3.0


def _settings(plan: UpdatePlan) -> tuple[Setting, ...]:
    found = [
        Setting("drift", 1.0, 0.0, 1.0),
        Setting("drift_z", DRIFT_Z, 0.0, 1000.0),
        Setting("drift_window", WINDOW, 1.0, 65536.0),
        Setting("drift_warmup", WARMUP, 2.0, 1e6),
    ]
    if rule_of(plan).anew:
        found.append(Setting("drift_retrain", 1.0, 0.0, 1.0))
    return tuple(found)


def _add(step: Step) -> None:
    graph, plan = step.graph, step.plan
    classes = 1 if plan.reconstructs else step.classes
    among = {"among": classes if plan.labels is None else Symbol("choices")}
    features = last_layer(graph).inputs[0]
    step.add_tensors(*_tensors(graph.tensor(features).size, classes, step.seen))
    reads = (graph.outputs[0], features, TRAINED, RECENT, COUNTS, SPREAD)
    step.look.append(node("DriftLook", reads, (DRIFT,), Phase.FORWARD, **among))
    anew = rule_of(plan).anew
    if anew:
        begun = state_name(last_layer(graph).inputs[1], anew)
        step.note.append(node("DriftRetrain", (COUNTS, begun), (), Phase.BACKWARD))
    skipped = "label == NET_SKIPPED" + (f" || {SKIPPED}" if not plan.learn_flagged else "")
    label = f"{skipped} ? -1 : 0" if plan.reconstructs else "label"
    rule = {**among, "label": Symbol(label)}
    step.note.append(node("DriftLearn", (*reads, DRIFT), (), Phase.BACKWARD, **rule))


def _tensors(size: int, classes: int, seen: Seen | None) -> Iterator[Tensor]:
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
    """The feature's state after it has learned these samples, in their order.

    The distances are those of a second pass over the samples.
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


FEATURE = Feature(
    "drift",
    add=_add,
    settings=_settings,
    keeps=frozenset({TRAINED, RECENT, COUNTS, SPREAD}),
)
