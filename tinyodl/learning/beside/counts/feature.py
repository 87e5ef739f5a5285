"""The confusion of a board's predictions, and its recent accuracy: nodes and memory."""

from __future__ import annotations

from tinyodl.graph import Node, Phase, Storage, Tensor
from tinyodl.learning.beside.counts import operators  # noqa: F401 (into the table)
from tinyodl.learning.beside.counts.section import Counts
from tinyodl.learning.beside.record import Feature, Step
from tinyodl.learning.state_names import CONFUSION, RECENT


def _add(step: Step) -> None:
    plan = step.plan
    outputs = step.classes
    made = (
        Tensor(CONFUSION, (outputs, outputs), Storage.STATE, "int32"),
        Tensor(RECENT, (2,), Storage.STATE),
    )
    step.add_tensors(*made, before_state=True)
    attrs = {"fading": Counts.on(plan).fading, "choices": plan.labels is not None}
    operands = (step.graph.outputs[0], *(tensor.name for tensor in made))
    step.counts.append(Node("CountConfusion", "metrics", operands, (), attrs, Phase.UPDATE))


FEATURE = Feature(
    "counts",
    add=_add,
    needs_learning=False,
    keeps=frozenset({CONFUSION, RECENT}),
    ram_part="optimizer",
)
