"""`--learner slda`: streaming linear discriminant analysis; see docs/learners-online.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.learners.fitted import OUTPUTS, START
from tinyodl.learning.learners.learner import Begun, Fit, Fitted, Learner, Rule, Shown
from tinyodl.learning.learners.ncm import COUNTS, makes_of_means, mean_layer, means_of
from tinyodl.ops.class_means import NO_CLASS
from tinyodl.ops.recursive_least_squares import FIRST, triangle
from tinyodl.project.plan import RIDGE

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options
    from tinyodl.project.plan import UpdatePlan

# Suffixes of states' names: P, M, and what the ridge is a share of.
SCATTER, MEANS, BEGUN = "inverse scatter", "class means", "input power and samples"
MOVED = "<moved>"


def _replaces(graph: Graph, plan: UpdatePlan, loss: Node, begun: Begun) -> Graph:
    """The graph with the update of the whole layer behind the loss."""
    layer, x, w, b = mean_layer(graph, "slda", begun)
    outputs, inputs = graph.shape(w)
    shapes = {
        SCATTER: (triangle(inputs),),
        MEANS: (outputs, inputs),
        COUNTS: (outputs,),
        BEGUN: (3,),
    }
    made = [
        Tensor(f"<{w}.{suffix}>", shape, Storage.STATE, data=begun.get(suffix))
        for suffix, shape in shapes.items()
    ]
    operands = (x, w, b, *(tensor.name for tensor in made))
    attrs = {"ridge": plan.ridge, "forgetting": plan.forgetting}
    op = "StreamingLDA"
    update = Node(op, f"{layer.name}.{op}", operands, (MOVED,), attrs, Phase.UPDATE)
    tensors = [*made, Tensor(MOVED, (2, inputs))]
    return replace(graph.with_tensors(tensors), nodes=(*graph.nodes, update))


def _discriminants(shown: Shown) -> Fitted:
    """In float64, where the board adds in float32: the published equations over all samples.

    Each sample counts `weight` times. The ridge is a share of the mean |x|^2; the board would know
    only the |x|^2 of its first sample.
    """
    means, counts = means_of(shown)
    around = shown.features - means[shown.of]
    ridge = (shown.ridge or RIDGE) * shown.power * np.eye(around.shape[1])
    p: Array = np.linalg.inv(shown.weight * around.T @ around + ridge)
    total = float(counts.sum())
    w = total * means @ p
    biases = np.where(counts > 0, -0.5 * (w * means).sum(axis=1), NO_CLASS)
    state = {
        SCATTER: p[np.triu_indices(len(p))],
        MEANS: means,
        COUNTS: counts,
        BEGUN: np.array([shown.power, FIRST, total]),
    }
    begun = {name: np.asarray(value, np.float32) for name, value in state.items()}
    return Fitted(w, biases, begun)


def _starts(options: Options) -> Fit:
    return _discriminants


def _says(plan: UpdatePlan) -> str:
    past = "" if plan.forgetting == 1 else f", forgetting {plan.forgetting:g}"
    return f"optimizer slda, ridge {plan.ridge:g}{past}"


RULE = Rule(
    ("slda",),
    "streaming discriminant analysis",
    losses=("zero-one",),
    wants="optimizer slda learns the means of classes, from labels: loss zero-one",
    says=_says,
    fields=("ridge", "forgetting"),
    by_itself=True,
    refuses={
        "query": (
            "after few samples the shared covariance is far too small, and all outputs look sure"
        )
    },
    smaller=(
        "let the learner read fewer features (another --tap), whose number counts squared, take "
        "--learner ncm, or a board with more RAM"
    ),
    zero=True,
    bias=NO_CLASS,
    replaces=_replaces,
)

LEARNER = Learner(
    "slda",
    RULE,
    takes=(*OUTPUTS, *START, *RULE.fields),
    brings=("head", "optimizer"),
    makes=makes_of_means,
    start=_starts,
)
