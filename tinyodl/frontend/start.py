"""--start: a fresh head's last layer begins where least squares over given samples puts it.

What the layer reads is computed by onnxruntime, the rest in float64:

    P = (X~' X~ + ridge I)^-1        (w, b) = P X~' T

X~ are the layer's inputs with a 1 for the bias, one sample a row, T the one-hot labels. So the
device begins as if it had learned from all of them by recursive least squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tinyodl.data import load_labelled
from tinyodl.frontend.cut import ending_at
from tinyodl.frontend.edit import write_constant
from tinyodl.frontend.runtime import session
from tinyodl.graph import Array, Graph
from tinyodl.watching import Seen


@dataclass(frozen=True)
class Started:
    """The model with the layer's weights, P, and what the layer has seen."""

    model: onnx.ModelProto
    correlation: Array
    seen: Seen


def started(
    model: onnx.ModelProto, graph: Graph, layer: str, samples: Path, ridge: float, source: str
) -> Started:
    """The model whose Gemm of that name, its last layer, has learned from the samples.

    `graph` is the imported model. Raises DataError for samples that do not fit.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    [gemm] = [node for node in made.graph.node if node.name == layer]
    shapes = {name: graph.shape(name) for name in graph.inputs}
    classes = graph.shape(graph.outputs[0])[-1]
    inputs, labels = load_labelled(samples, shapes, classes)
    features = _features(ending_at(model, gemm.input[0], source), inputs, len(labels))
    x = np.column_stack((features, np.ones(len(features)))).astype(np.float64)
    p = np.linalg.inv(x.T @ x + ridge * np.eye(x.shape[1]))
    fitted = p @ x.T @ np.eye(classes)[labels]
    write_constant(made.graph, [(gemm, 1)], fitted[:-1].T.astype(np.float32))
    write_constant(made.graph, [(gemm, 2)], fitted[-1].astype(np.float32))
    return Started(made, p, Seen(features, labels))


def _features(model: onnx.ModelProto, inputs: dict[str, Array], count: int) -> Array:
    """(N, features), each sample by itself: a file may know only batch 1."""
    runtime = session(model)
    rows = []
    for index in range(count):
        sample = {name: values[index : index + 1] for name, values in inputs.items()}
        rows.append(np.asarray(runtime.run(None, sample)[0]).reshape(-1))
    return np.stack(rows)
