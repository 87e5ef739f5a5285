"""Adds the features of a plan to a training graph."""

from __future__ import annotations

from collections.abc import Iterator

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Storage
from tinyodl.learning.beside import wanted
from tinyodl.learning.beside.record import Feature, Seen, Setting, Step
from tinyodl.learning.outliers import FACTOR, REACH, SETTING
from tinyodl.learning.tensors import LOSS
from tinyodl.project.plan import UpdatePlan


def with_features(graph: Graph, plan: UpdatePlan, seen: Seen | None = None) -> Graph:
    """The training graph with the nodes of the plan's features.

    With `seen`, the board begins as if it had received these samples with their labels. Raises
    UserError if a feature does not fit the network.
    """
    there = wanted(plan)
    if not there:
        return graph
    if not any(tensor.storage is Storage.PARAMETER for tensor in graph.tensors.values()):
        idle = [feature.name for feature in there if feature.needs_learning]
        if idle:
            raise UserError(
                f"{', '.join(idle)}: goes with layers that learn, and none does: "
                "the plan lets nothing learn"
            )
    [at] = [i for i, node in enumerate(graph.nodes) if node.outputs == (LOSS,)]
    ahead, loss, behind = graph.nodes[:at], graph.nodes[at], graph.nodes[at + 1 :]
    step = Step(graph, plan, seen, loss, ahead, behind)
    for feature in _in_order(there):
        feature.add(step)
    return step.result()


def _in_order(features: tuple[Feature, ...]) -> Iterator[Feature]:
    """The features in their order, but each after the features whose tensors it reads."""
    left = list(features)
    while left:
        names = {feature.name for feature in left}
        ready = next(feature for feature in left if not names.intersection(feature.after))
        left.remove(ready)
        yield ready


def settings_of(plan: UpdatePlan, graph: Graph | None = None) -> tuple[Setting, ...]:
    """The settings of a plan's features, in the order of the protocol.

    `graph` is the training graph: it shows whether the board gates outliers.
    """
    found = [setting for feature in wanted(plan) for setting in feature.settings(plan)]
    if graph and REACH in graph.tensors:
        found.append(Setting(SETTING, FACTOR, 0.0, 1e6))
    return tuple(found)
