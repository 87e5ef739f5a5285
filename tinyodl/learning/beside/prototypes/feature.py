"""Prototypes of a layer that goes on learning: nodes, setting and memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.beside.prototypes import operators  # noqa: F401 (into the table)
from tinyodl.learning.beside.prototypes.section import MOST, Prototypes
from tinyodl.learning.beside.record import Feature, Setting, Step, node
from tinyodl.learning.frozen_part import last_node
from tinyodl.project.plan import UpdatePlan

TAKEN = "<prototypes.taken>"
COUNTS, LENGTHS = "<prototypes.samples>", "<prototypes.lengths>"
SCALE = "<prototypes.scale>"

# The largest output for a sample of a prototype's direction, in what a loss takes: the logits of a
# softmax, or a vector of one 1.
SHARPNESS = {"one-hot": 1.0}
SHARP = 10.0


def _settings(plan: UpdatePlan) -> tuple[Setting, ...]:
    return (Setting("shots", Prototypes.on(plan).shots, 0.0, float(MOST)),)


def _add(step: Step) -> None:
    graph = step.graph
    layer = _layer(graph)
    x, w = layer.inputs[:2]
    outputs, _ = graph.shape(w)
    step.add_tensors(
        Tensor(TAKEN, (1,), dtype="int32"),
        Tensor(COUNTS, (outputs,), Storage.STATE),
        Tensor(LENGTHS, (outputs,), Storage.STATE),
        Tensor(SCALE, (1,), Storage.STATE),
    )
    reads = (x, w, COUNTS, LENGTHS, SCALE)
    sharpness = SHARPNESS.get(step.plan.loss, SHARP)
    step.counts.append(node("FirstShots", reads, (TAKEN,), Phase.BACKWARD, sharpness=sharpness))


def _layer(graph: Graph) -> Node:
    """The last layer, which begins at zero and learns. Raises UserError if there is none."""
    layer = last_node(graph)
    if layer is None or layer.op != "Gemm":
        found = "the input" if layer is None else f"'{layer.name}' ({layer.op})"
        raise UserError(
            "prototypes are the rows of the last dense layer, and the output of this network comes "
            f"from {found}; give --head prototypes:N"
        )
    w = graph.tensor(layer.inputs[1])
    if w.storage is not Storage.PARAMETER or w.dtype != "float32":
        raise UserError(
            f"prototypes are float32 weights that go on learning: plan 'weights' for '{layer.name}'"
        )
    if w.data is not None and w.data.any():
        raise UserError(
            f"'{layer.name}' has weights already, which prototypes would replace; give --head "
            "prototypes:N, which puts a fresh layer in its place"
        )
    return layer


def _context(graph: Graph, plan: UpdatePlan, c: Mapping[str, str]) -> dict[str, Any]:
    return {"taken": c[TAKEN]}


FEATURE = Feature(
    "prototypes",
    add=_add,
    settings=_settings,
    ram_part="optimizer",
    context=_context,
)
