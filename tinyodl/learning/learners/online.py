"""`--learner online`: a dense layer behind a running standardisation; see docs/learners-online.md.

A layer that learns by gradients, as in TinyOL (Ren, Anicic and Runkler 2021).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Array
from tinyodl.learning.learners import rule_named
from tinyodl.learning.learners.fitted import OUTPUTS, START, with_fresh_layer
from tinyodl.learning.learners.gradients import RULE
from tinyodl.learning.learners.learner import Fit, Fitted, Learner, Shown
from tinyodl.learning.learners.rls import least_squares

if TYPE_CHECKING:
    from tinyodl.frontend import Head
    from tinyodl.project.keyword_types import Options

STEPS = 300


def _makes(options: Options) -> Options:
    made = with_fresh_layer(options)
    if rule_named(made.get("optimizer", "sgd")).replaces:
        raise UserError("--learner online learns by gradients; --learner rls by least squares")
    loss, activation = made.get("loss", "cross-entropy"), made.get("activation")
    if loss == "binary-cross-entropy" or (loss, activation) == ("cross-entropy", "sigmoid"):
        if activation == "linear":
            raise UserError(f"--loss {loss} is of sigmoid outputs; leave --activation away")
        if made.get("grow"):
            raise UserError(f"--grow begins with the model's last layer; it is not for loss {loss}")
        made["loss"], made["activation"] = "binary-cross-entropy", "sigmoid"
    elif loss == "cross-entropy" and activation:
        raise UserError("--activation linear is for --loss one-hot; cross-entropy is of a softmax")
    if "start" in made and made.get("activation") == "sigmoid" and made["loss"] == "one-hot":
        raise UserError(
            "--start fits linear outputs, or cross-entropy, and not the squared error of sigmoids; "
            "leave --start away, or take --loss cross-entropy"
        )
    return made


def _layer(head: Head, options: Options) -> Head:
    as_they_are = options.get("grow", False) or "shots" in options
    sigmoid = options.get("activation") == "sigmoid"
    return replace(head, zero=True, standardized=not as_they_are, sigmoid=sigmoid)


def _starts(options: Options) -> Fit:
    """Where the loss over the samples is least: by least squares, or by cross-entropy."""
    match options.get("loss", "cross-entropy"):
        case "cross-entropy":
            return partial(_by_cross_entropy, "softmax")
        case "binary-cross-entropy":
            return partial(_by_cross_entropy, "sigmoid")
        case _:
            return least_squares


def _by_cross_entropy(by: Literal["softmax", "sigmoid"], shown: Shown) -> Fitted:
    x = np.column_stack((shown.features, np.ones(len(shown.features))))
    targets = np.eye(shown.outputs)[shown.of][:, : shown.in_use]
    ridge = shown.ridge or 1.0
    made = cross_entropy_fit(x, targets, by, ridge / shown.weight)
    made = np.pad(made, ((0, 0), (0, shown.outputs - shown.in_use)))
    return Fitted(made[:-1].T, made[-1])


def cross_entropy_fit(
    x: Array, targets: Array, by: Literal["softmax", "sigmoid"], ridge: float
) -> Array:
    """The weights (inputs + 1, outputs) that make cross-entropy and ridge / 2 |w|^2 least.

    `x` (samples, inputs + 1) and `targets` (samples, outputs); the last input is the bias's.
    A sample's cross-entropy is the softmax's, or the mean over all sigmoids. The method is 300
    steps of Nesterov's gradient method from zero, at the rate 1 / L.
    """
    count, outputs = targets.shape
    each = count if by == "softmax" else count * outputs
    bound = 0.5 if by == "softmax" else 0.25  # of the curvature in z
    penalty = np.full((x.shape[1], 1), ridge / count)
    penalty[-1] = 0.0
    rate = 1 / (bound * np.linalg.eigvalsh(x.T @ x / each)[-1] + ridge / count)
    w = ahead = np.zeros((x.shape[1], outputs))
    for step in range(STEPS):
        z = x @ ahead
        if by == "softmax":
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
        else:
            p = 0.5 * (1 + np.tanh(0.5 * z))
        next_w = ahead - rate * (x.T @ (p - targets) / each + penalty * ahead)
        ahead = next_w + step / (step + 3) * (next_w - w)
        w = next_w
    return w


LEARNER = Learner(
    "online",
    RULE,
    takes=(*OUTPUTS, *START, "activation", "grow", "ridge", "forgetting"),
    needs={"ridge": "start"},
    brings=("head",),
    makes=_makes,
    layer=_layer,
    reconstructs=True,
    start=_starts,
)
