"""`--learner ncm`: the class whose mean is nearest; see docs/learners-online.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.learners.fitted import OUTPUTS, START, fitted_layer, with_fresh_layer
from tinyodl.learning.learners.learner import Begun, Fit, Fitted, Learner, Rule, Shown
from tinyodl.ops.class_means import NO_CLASS

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options
    from tinyodl.project.plan import UpdatePlan

COUNTS = "samples of each class"  # suffix of a state's name
_NO_CONFIDENCE = (
    "its outputs are squared distances in the unit of the features, of which no threshold says how "
    "sure they are"
)


def mean_layer(graph: Graph, optimizer: str, begun: Begun) -> tuple[Node, str, str, str]:
    """The node of the layer made of class means, and its input, weights and biases.

    Raises UserError if the layer has no bias, or weights of another origin.
    """
    layer = fitted_layer(graph, optimizer, optimizer)
    x, w, b = layer.inputs
    if not b:
        raise UserError(f"optimizer {optimizer} needs a layer with a bias; '{layer.name}' has none")
    weights, biases = graph.tensor(w).data, graph.tensor(b).data
    assert weights is not None and biases is not None
    if not begun and (weights.any() or (biases != np.float32(NO_CLASS)).any()):
        raise UserError(
            f"optimizer {optimizer} makes a layer of class means, and '{layer.name}' has weights "
            f"already; give --learner {optimizer}, which puts a fresh layer in its place"
        )
    return layer, x, w, b


def _replaces(graph: Graph, plan: UpdatePlan, loss: Node, begun: Begun) -> Graph:
    """The graph with the update of one class's mean behind the loss."""
    layer, x, w, b = mean_layer(graph, "ncm", begun)
    outputs, _ = graph.shape(w)
    counts = f"<{w}.{COUNTS}>"
    made = Tensor(counts, (outputs,), Storage.STATE, data=begun.get(COUNTS))
    attrs = {"forgetting": plan.forgetting}
    op = "NearestClassMean"
    update = Node(op, f"{layer.name}.{op}", (x, w, b, counts), (), attrs, Phase.UPDATE)
    return replace(graph.with_tensors([made]), nodes=(*graph.nodes, update))


def means_of(shown: Shown) -> tuple[Array, Array]:
    """The mean (outputs, F) and the number (outputs,) of the samples of each class, weighted."""
    counts = np.bincount(shown.of, minlength=shown.outputs).astype(np.float64)
    means = np.eye(shown.outputs)[shown.of].T @ shown.features / np.maximum(counts, 1)[:, None]
    return means, shown.weight * counts


def _nearest(shown: Shown) -> Fitted:
    """In float64, where the board adds in float32; each sample counts `weight` times."""
    means, counts = means_of(shown)
    biases = np.where(counts > 0, -(means**2).sum(axis=1), NO_CLASS)
    return Fitted(2 * means, biases, {COUNTS: counts.astype(np.float32)})


def _starts(options: Options) -> Fit:
    return _nearest


def makes_of_means(options: Options) -> Options:
    """A fresh layer made of class means. It learns nothing from a sample's loss."""
    made = with_fresh_layer(options)
    made["optimizer"] = cast("Any", options["learner"])  # whose rule is named like it
    made.setdefault("loss", "zero-one")
    return made


def _says(plan: UpdatePlan) -> str:
    past = "" if plan.forgetting == 1 else f", forgetting {plan.forgetting:g}"
    return f"optimizer ncm{past}"


RULE = Rule(
    ("ncm",),
    "nearest class mean",
    losses=("zero-one",),
    wants="optimizer ncm learns the means of classes, from labels: loss zero-one",
    says=_says,
    fields=("forgetting",),
    by_itself=True,
    refuses={"query": _NO_CONFIDENCE},
    zero=True,
    bias=NO_CLASS,
    replaces=_replaces,
)

LEARNER = Learner(
    "ncm",
    RULE,
    takes=(*OUTPUTS, *START, *RULE.fields),
    brings=("head", "optimizer"),
    makes=makes_of_means,
    start=_starts,
)
