"""Which labels the board asks for: nodes, settings and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinyodl.graph import Array, Graph, Phase, Storage, Tensor
from tinyodl.learning.beside.query.operators import THRESHOLDS
from tinyodl.learning.beside.query.section import Query
from tinyodl.learning.beside.record import Feature, Setting, Step, node
from tinyodl.ops.shared import Symbol
from tinyodl.project.plan import UpdatePlan

MARGIN, SURE_FROM = "<query.margin>", "<query.threshold>"
GRID, RECORD, ASKED = "<query.thresholds>", "<query.record>", "<query.counts>"
DRIFT = "<drift.seen>"  # a tensor of the feature drift, if this is on

EXPLORE = 16.0  # of so many samples that are no question, one is asked
CONFIDENCE = 1.645  # standard normal quantile: 95 % on one side
LEAST_TRAINED = 50.0


def _settings(plan: UpdatePlan) -> tuple[Setting, ...]:
    query = Query.on(plan)
    found = [
        Setting("query", 1.0, 0.0, 1.0),
        Setting("least_trained", LEAST_TRAINED, 0.0, 1e6),
    ]
    if query.ask == "auto":
        found.append(Setting("error_budget", query.error_budget, 0.0, 1.0))
        found.append(Setting("confidence", CONFIDENCE, 0.0, 10.0))
        found.append(Setting("explore", EXPLORE, 1.0, 65536.0))
    elif query.margin is not None:
        found.append(Setting("threshold", query.margin, 0.0, 1e6))
    return tuple(found)


def _add(step: Step) -> None:
    graph, plan = step.graph, step.plan
    output = graph.outputs[0]
    among = {"among": step.classes if plan.labels is None else Symbol("choices")}
    softmax = plan.loss == "cross-entropy"
    step.add_tensors(*_tensors(plan, 0 if step.seen is None else len(step.seen.labels)))
    z = (step.loss.inputs[0] if softmax else output,)
    step.look.append(node("Margin", z, (MARGIN,), Phase.FORWARD, softmax=softmax, **among))
    record = RECORD if Query.on(plan).ask == "auto" else ""
    drift = DRIFT if DRIFT in graph.tensors else ""
    reads = (output, MARGIN, drift, GRID if record else "", record, ASKED)
    step.look.append(node("QueryDecision", reads, (SURE_FROM,), Phase.FORWARD, seed=plan.seed))
    step.note.append(node("QueryCount", reads, (), Phase.BACKWARD, **among))


def _tensors(plan: UpdatePlan, trained: int) -> Iterator[Tensor]:
    counts = np.array([trained, 0], np.int32)
    yield Tensor(MARGIN, (1,))
    yield Tensor(SURE_FROM, (1,))
    yield Tensor(ASKED, (2,), Storage.STATE, "int32", counts)
    if Query.on(plan).ask == "auto":
        yield Tensor(RECORD, (THRESHOLDS, 2), Storage.STATE)
        yield Tensor(GRID, (THRESHOLDS,), Storage.FLASH, data=thresholds(plan.loss != "one-hot"))


def thresholds(probabilities: bool) -> Array:
    """The grid: sixteenths, and of probabilities, which crowd below 1, 1 - 2^(-t / 2)."""
    t = np.arange(THRESHOLDS)
    return np.asarray(1 - 2 ** (-t / 2) if probabilities else t / THRESHOLDS, np.float32)


def _context(graph: Graph, plan: UpdatePlan, c: Mapping[str, str]) -> dict[str, Any]:
    names = {"margin": MARGIN, "threshold": SURE_FROM, "grid": GRID, "record": RECORD}
    return {"ask": Query.on(plan).ask, **{key: c[name] for key, name in names.items() if name in c}}


FEATURE = Feature(
    "query",
    add=_add,
    after=("drift",),
    settings=_settings,
    keeps=frozenset({RECORD, ASKED}),
    context=_context,
)
