"""`--learner rls`: recursive least squares in the place of gradients; see docs/learners.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.learners.fitted import OUTPUTS, START, fitted_layer, with_fresh_layer
from tinyodl.learning.learners.learner import Begun, Fit, Fitted, Learner, Rule, Shown
from tinyodl.ops.recursive_least_squares import FIRST, triangle
from tinyodl.project.plan import RIDGE

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options
    from tinyodl.project.plan import UpdatePlan

CORRELATION = "inverse correlation"  # P of the equations, as the suffix of a state's name
POWER = "input power"  # what it began with
GAIN = "<gain>"


def replaces(graph: Graph, plan: UpdatePlan, loss: Node, begun: Begun) -> Graph:
    """The graph with the gradient of the loss and, after it, the layer's update.

    The gradient is the mean squared error's with respect to the network's output. `begun` has the
    symmetric P of the layer's inputs and its bias, and the mean of the inputs' |x|^2.
    """
    layer = fitted_layer(graph, "rls", "rls")
    x, w, b = layer.inputs
    outputs, inputs = graph.shape(w)
    size = inputs + bool(b)
    gradient = f"{loss.inputs[0]}.gradient"
    p, power = f"<{w}.{CORRELATION}>", f"<{w}.{POWER}>"
    made = [
        Tensor(gradient, graph.shape(layer.outputs[0])),
        Tensor(p, (triangle(size),), Storage.STATE, data=_packed(begun, size)),
        Tensor(power, (2,), Storage.STATE, data=begun.get(POWER)),
        Tensor(GAIN, (size,)),
    ]
    kind = f"{loss.op}Gradient"
    differs = Node(kind, f"loss.{kind}", loss.inputs, (gradient,), {}, loss.phase)
    attrs = {"factor": -outputs / 2, "ridge": plan.ridge, "forgetting": plan.forgetting}
    op = "RecursiveLeastSquares"
    operands = (gradient, x, w, b, p, power)
    update = Node(op, f"{layer.name}.{op}", operands, (GAIN,), attrs, Phase.UPDATE)
    return replace(graph.with_tensors(made), nodes=(*graph.nodes, differs, update))


def _packed(begun: Begun, size: int) -> Array | None:
    """The upper triangle of P, row by row."""
    if CORRELATION not in begun:
        return None
    matrix = begun[CORRELATION]
    if matrix.shape != (size, size):
        raise ValueError(f"P has the shape {matrix.shape}, the layer {size} inputs")
    return np.asarray(matrix[np.triu_indices(size)], np.float32)


def least_squares(shown: Shown) -> Fitted:
    """The layer, and P, after the samples, in float64:

        P = (weight X~' X~ + R)^-1        (w, b) = weight P X~' T

    X~ are the inputs with a 1 for the bias, T the labels as vectors of one 1. R is diagonal: the
    ridge times the mean |x|^2 for the inputs, times their number for the bias. Of standardised
    inputs, which have no unit, it is the ridge, by default 1, times I.
    """
    x = np.column_stack((shown.features, np.ones(len(shown.features))))
    inputs = shown.features.shape[1]
    r = np.full(x.shape[1], shown.ridge or (1.0 if shown.standardized else RIDGE))
    if not shown.standardized:
        r *= np.append(np.full(inputs, shown.power), inputs)
    p = np.linalg.inv(shown.weight * x.T @ x + np.diag(r))
    made = shown.weight * p @ x.T @ np.eye(shown.outputs)[shown.of]
    power = np.array([shown.power, FIRST], np.float32)
    return Fitted(made[:-1].T, made[-1], {CORRELATION: p, POWER: power})


def starts(options: Options) -> Fit:
    """The fit that makes the layer begin as if the board had learned from the samples."""
    return least_squares


def makes(options: Options) -> Options:
    """A fresh layer that fits vectors of one 1."""
    made = with_fresh_layer(options)
    made["optimizer"] = "rls"
    made.setdefault("loss", "one-hot")
    return made


def _says(plan: UpdatePlan) -> str:
    past = "" if plan.forgetting == 1 else f", forgetting {plan.forgetting:g}"
    return f"optimizer rls, ridge {plan.ridge:g}{past}"


RULE = Rule(
    ("rls",),
    "recursive least squares",
    losses=("one-hot", "mse", "reconstruction"),
    wants="optimizer rls needs a squared loss: one-hot for labels, or mse",
    says=_says,
    fields=("ridge", "forgetting"),
    whole_loss=True,
    by_itself=True,
    smaller=(
        "let the learner read fewer features (another --tap, fewer --hidden of elm), whose number "
        "counts squared, or take a board with more RAM"
    ),
    zero=True,
    replaces=replaces,
    anew=POWER,
)

LEARNER = Learner(
    "rls",
    RULE,
    takes=(*OUTPUTS, *START, *RULE.fields),
    brings=("head", "optimizer"),
    makes=makes,
    start=starts,
)
