"""--grow: a head that begins with the model's own last layer and has outputs to spare."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyodl.errors import ModelError
from tinyodl.frontend.build import import_checked
from tinyodl.frontend.labels import KEY
from tinyodl.frontend.load import load_model
from tinyodl.graph import Array, Tensor
from tinyodl.ops import biases_of, layers_of, weights_of


@dataclass(frozen=True)
class LastLayer:
    """The last layer of a classifier: weight (outputs, inputs), bias, and what the outputs mean."""

    weight: Array
    bias: Array
    labels: tuple[int, ...]


def last_layer(path: Path, data: bytes, output: str | None) -> LastLayer:
    """The real weights of the last layer of the file's `data`, with the nodes folded into it.

    The labels are 0, 1, 2, ..., or the labels written by an earlier export. Raises ModelError.
    """
    model = load_model(path, data)
    graph = import_checked(model, str(path), output).graph
    layer = layers_of(graph)[-1]
    [weight, *_] = weights_of(layer, graph)
    values = _real(graph.tensor(weight))
    outputs = len(values)
    bias = np.zeros(outputs)
    for name in biases_of(layer, graph):
        bias = _real(graph.tensor(name)).reshape(outputs)
    said = {each.key: each.value for each in model.metadata_props}.get(KEY)
    labels = tuple(json.loads(said)) if said else tuple(range(outputs))
    if len(labels) != outputs:
        raise ModelError(
            f"{path}: its metadata {KEY} has {len(labels)} labels for {outputs} outputs"
        )
    rows = values.reshape(outputs, -1).astype(np.float32)
    return LastLayer(rows, bias.astype(np.float32), labels)


def _real(tensor: Tensor) -> Array:
    assert tensor.data is not None
    if tensor.dtype == "float32" or tensor.quantization is None:
        return tensor.data
    scales = tensor.quantization.scales(tensor.shape[0]).astype(np.float64)
    real: Array = tensor.data * scales.reshape(-1, *(1,) * (len(tensor.shape) - 1))
    return real
