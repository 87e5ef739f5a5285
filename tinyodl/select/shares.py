"""Chooses the learning channels of a layer for a plan's share: those with the largest weights."""

from __future__ import annotations

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node
from tinyodl.ops import OPERATORS, layers_of
from tinyodl.ops.shared import float_learning
from tinyodl.ops.shared.int8_learning import magnitude
from tinyodl.project.layer_update import ChannelUpdate, LayerUpdate
from tinyodl.project.plan import UpdatePlan


def with_channels(plan: UpdatePlan, graph: Graph) -> UpdatePlan:
    """The plan with channels instead of shares.

    A share is rounded to whole channels, at least one; the channels with the largest sum of real
    magnitudes are taken, the first of equals. Raises UserError where a layer has no channels; a
    layer that is not in the graph is left for `differentiate` to complain about.
    """
    layers = {node.name: node for node in layers_of(graph)}
    return plan.model_copy(
        update={
            "layers": {
                name: _resolved(update, layers[name], graph) if name in layers else update
                for name, update in plan.layers.items()
            }
        }
    )


def _resolved(update: LayerUpdate, node: Node, graph: Graph) -> LayerUpdate:
    if isinstance(update, str) or not isinstance(update.chosen, float):
        return update
    if OPERATORS[node.op].learns is None:
        raise UserError(
            f"the plan lets some channels of layer {node.name!r} learn, which is a {node.op} of "
            "float32; channels can be chosen of convolutions and dense layers: plan 'weights' or "
            "'bias'"
        )
    if graph.tensor(node.inputs[1]).dtype == "float32":
        sizes = float_learning.magnitude(node, graph)
    else:
        sizes = magnitude(node, graph, axis=0 if update.side == "outputs" else 1)
    count = max(1, round(update.chosen * len(sizes)))
    if count == len(sizes):
        return "weights"
    largest = np.argsort(-sizes, kind="stable")[:count]
    return ChannelUpdate(**{update.side: tuple(sorted(int(channel) for channel in largest))})
