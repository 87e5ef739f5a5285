"""--start: a fresh head's last layer begins as if it had learned from given samples.

What the layer reads is computed by onnxruntime, the rest in float64 by the learner's `start`. A
standardisation in front of the layer begins with the mean and the variance of the samples, and what
the layer reads is then standardised.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tinyodl.errors import UserError
from tinyodl.frontend.batch_axes import as_in_file
from tinyodl.frontend.cut import ending_at
from tinyodl.frontend.edit import write_constant
from tinyodl.frontend.load import read_model
from tinyodl.graph import Array, Graph
from tinyodl.learning.beside.record import Seen
from tinyodl.learning.learners.learner import Begun, Fit, Shown
from tinyodl.learning.logits import sigmoid_logits
from tinyodl.project.manifest import ANY_LABEL
from tinyodl.project.plan import Loss
from tinyodl.samples.data import check_fractions, load_inputs, load_labelled

EPSILON = 1e-5  # of a BatchNormalization that says nothing else
MOST_SEEN = 1 << 24


@dataclass(frozen=True)
class Layers:
    """The layers to start: a Gemm, and the BatchNormalization before it; see `started`."""

    dense: str
    standardized: str | None = None


@dataclass(frozen=True)
class Start:
    """The samples to begin from (.npz or .csv), the weight of each, and the learner's settings."""

    samples: Path
    weight: float = 0.1
    ridge: float | None = None  # as the learner has it
    fit: Fit | None = None  # the learner's; None of an autoencoder
    any_label: bool = False  # the outputs stand for labels as they come
    reconstruction: Loss | None = None  # an autoencoder's, whose errors are wanted instead


@dataclass(frozen=True)
class Started:
    """The model with the layer's weights, the rule's states, and the samples.

    `shown` has the samples as the layer reads them, `seen` is their number as the model counts it.
    `labels` are the labels of the first outputs, if outputs take labels as they come.
    """

    model: onnx.ModelProto
    begun: Begun
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
    if start.fit is None:
        raise UserError("--start is for learners that can begin with samples: give --learner")
    in_use = len(labels) or classes
    shown = Shown(features, of, classes, in_use, start.weight, start.ridge, norm is not None)
    fitted = start.fit(shown)
    write_constant(made.graph, [(gemm, 1)], fitted.w.astype(np.float32))
    write_constant(made.graph, [(gemm, 2)], fitted.b.astype(np.float32))
    seen = min(max(round(start.weight * len(y)), 1), MOST_SEEN)
    return Started(made, fitted.begun, Seen(features, of), seen, labels)


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


def _features(model: onnx.ModelProto, inputs: dict[str, Array], count: int) -> Array:
    """(N, features), each sample by itself: a file may know only batch 1."""
    from tinyodl.frontend.runtime import session  # onnxruntime loads slowly

    runtime = session(model)
    for entry in runtime.get_inputs():
        if entry.type != "tensor(float)":
            raise UserError(
                f"--start computes with real numbers, and input '{entry.name}' of the file is "
                f"{entry.type}; leave --start away, or give a file with a float32 input"
            )
    rows = []
    for index in range(count):
        sample = {name: values[index : index + 1] for name, values in inputs.items()}
        made = runtime.run(None, as_in_file(model, sample))[0]
        rows.append(np.asarray(made).reshape(-1))
    return np.stack(rows)
