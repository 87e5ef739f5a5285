"""--start: a fresh head's last layer begins where least squares over given samples puts it.

What the layer reads is computed by onnxruntime, the rest in float64:

    P = (weight X~' X~ + R)^-1        (w, b) = weight P X~' T

X~ are the layer's inputs with a 1 for the bias, one sample a row, T the one-hot labels. R is
diagonal: `ridge` times the mean |x|^2 for the inputs, times their number for the bias. So the
device begins as if it had learned from all of them by recursive least squares, each counting as
much as `weight` samples of the stream.

A standardisation in front of the layer begins with the mean and the variance of the samples, and X~
are then standardised; as they have no unit then, R is `ridge`, by default 1, times I. With the
cross-entropy of a softmax or of sigmoids behind it (w, b) are where

    weight * the sum over the samples of the cross-entropy + ridge / 2 |w|^2

is least: 300 steps of Nesterov's gradient method from zero, at the rate 1 / L.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from tinyodl.data import check_fractions, load_inputs, load_labelled
from tinyodl.errors import UserError
from tinyodl.frontend.cut import ending_at
from tinyodl.frontend.edit import write_constant
from tinyodl.frontend.load import read_model
from tinyodl.graph import Array, Graph
from tinyodl.learning.beside.record import Seen
from tinyodl.logits import sigmoid_logits
from tinyodl.manifest import ANY_LABEL
from tinyodl.project.plan import RIDGE, Loss

EPSILON = 1e-5  # of a BatchNormalization that says nothing else
STEPS = 300
MOST_SEEN = 1 << 24


@dataclass(frozen=True)
class Layers:
    """What begins: a Gemm, and the BatchNormalization in front of it; see `started`."""

    dense: str
    standardized: str | None = None


@dataclass(frozen=True)
class Start:
    """The samples to begin from (.npz or .csv), what each counts, and how sure zero is without."""

    samples: Path
    weight: float = 0.1
    ridge: float | None = None  # RIDGE, and 1 of inputs that are standardised
    by: Literal["softmax", "sigmoid"] | None = None  # their cross-entropy, not least squares
    any_label: bool = False  # the outputs stand for labels as they come
    reconstruction: Loss | None = None  # an autoencoder's, whose errors are wanted instead


@dataclass(frozen=True)
class Started:
    """The model with the layer's weights, P, and what the samples were: `seen`, as they count.

    `shown` is what the layer reads of them, `power` the mean |x|^2 of that.
    `labels` are those that the first outputs stand for, where the outputs stand for any.
    """

    model: onnx.ModelProto
    correlation: Array
    power: float
    shown: Seen
    seen: int
    labels: tuple[int, ...]


def started(
    model: onnx.ModelProto, graph: Graph, layers: Layers, start: Start, source: str
) -> Started:
    """The model whose last layers have learned from the samples.

    `graph` is the imported model. Raises DataError for samples that do not fit.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = {node.name: node for node in made.graph.node}
    gemm, norm = nodes[layers.dense], nodes.get(layers.standardized or "")
    shapes = {name: graph.shape(name) for name in graph.inputs}
    classes = graph.shape(graph.outputs[0])[-1]
    if classes < 2 and not start.any_label:
        raise UserError(
            f"{start.samples}: a layer of one output cannot be fitted to labels; give it two, with "
            "--classes 2"
        )
    inputs, y = load_labelled(start.samples, shapes, ANY_LABEL if start.any_label else classes)
    labels = tuple(np.unique(y).tolist()) if start.any_label else ()
    if len(labels) > classes:
        raise UserError(
            f"{start.samples} has {len(labels)} labels; give --max-classes {len(labels)} or more"
        )
    of = np.searchsorted(labels, y) if start.any_label else y
    reads = norm.input[0] if norm else gemm.input[0]
    features = _features(ending_at(model, reads, source), inputs, len(y)).astype(np.float64)
    if norm:
        mean, variance = features.mean(axis=0), features.var(axis=0)
        write_constant(made.graph, [(norm, 3)], mean.astype(np.float32))
        write_constant(made.graph, [(norm, 4)], variance.astype(np.float32))
        features = (features - mean) / np.sqrt(variance + EPSILON)
    x = np.column_stack((features, np.ones(len(features))))
    power = float(np.mean(np.sum(features**2, axis=1)))
    ridge = start.ridge or (1.0 if norm else RIDGE)
    r = np.full(x.shape[1], ridge)
    if not norm:
        r *= np.append(np.full(features.shape[1], power or 1.0), features.shape[1])
    p = np.linalg.inv(start.weight * x.T @ x + np.diag(r))
    targets = np.eye(classes)[of]
    if start.by:
        in_use = len(labels) or classes
        fitted = cross_entropy_fit(x, targets[:, :in_use], start.by, ridge / start.weight)
        fitted = np.pad(fitted, ((0, 0), (0, classes - in_use)))
    else:
        fitted = start.weight * p @ x.T @ targets
    write_constant(made.graph, [(gemm, 1)], fitted[:-1].T.astype(np.float32))
    write_constant(made.graph, [(gemm, 2)], fitted[-1].astype(np.float32))
    seen = min(max(round(start.weight * len(y)), 1), MOST_SEEN)
    return Started(made, p, power, Seen(features, of), seen, labels)


def reconstruction_errors(
    data: bytes, graph: Graph, samples: Path, loss: Loss, source: str
) -> Array:
    """The loss of each sample's reconstruction by an autoencoder; without labels."""
    shapes = {name: graph.shape(name) for name in graph.inputs}
    inputs = load_inputs(samples, shapes, (1, 1))
    binary = loss == "reconstruction-cross-entropy"
    ends = sigmoid_logits(graph, loss) if binary else graph.outputs[0]
    model = ending_at(read_model(Path(source), data), ends, source)
    [x] = inputs.values()
    if binary:
        check_fractions(x, f"{samples}: x")
    made = _features(model, inputs, len(x)).astype(np.float64)
    given = x.reshape(len(x), -1).astype(np.float64)
    if made.shape != given.shape:
        raise UserError(
            f"{source}: its output has {made.shape[1]} values and its input {given.shape[1]}; loss "
            "reconstruction compares one with the other"
        )
    errors: Array = (np.logaddexp(0, made) - made * given) if binary else (made - given) ** 2
    return np.asarray(errors.mean(axis=1))


def cross_entropy_fit(
    x: Array, targets: Array, by: Literal["softmax", "sigmoid"], ridge: float
) -> Array:
    """The weights (inputs + 1, outputs) that make cross-entropy and ridge / 2 |w|^2 least.

    `x` (samples, inputs + 1) and `targets` (samples, outputs); the last input is that of the bias.
    The cross-entropy of a sample is that of a softmax, or the mean of those of all sigmoids.
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


def _features(model: onnx.ModelProto, inputs: dict[str, Array], count: int) -> Array:
    """(N, features), each sample by itself: a file may know only batch 1."""
    from tinyodl.frontend.runtime import session  # onnxruntime loads slowly

    runtime = session(model)
    rows = []
    for index in range(count):
        sample = {name: values[index : index + 1] for name, values in inputs.items()}
        rows.append(np.asarray(runtime.run(None, sample)[0]).reshape(-1))
    return np.stack(rows)
