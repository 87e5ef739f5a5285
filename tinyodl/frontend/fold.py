"""Writes an ONNX file with its BatchNormalizations folded into the layers before them."""

from __future__ import annotations

from pathlib import Path

import onnx

from tinyodl.frontend.build import import_checked
from tinyodl.frontend.export import write_back
from tinyodl.frontend.load import INITIALIZERS_BY_THEMSELVES, load_model


def folded(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """A copy without the BatchNormalization that a layer before it can absorb.

    Raises ModelError where the model cannot be imported.
    """
    data = model.SerializeToString()
    imported = import_checked(load_model(Path(source), data), source)
    changed = {
        tensor.name: (tensor, tensor.data)
        for tensor in imported.graph.tensors.values()
        if tensor.data is not None and tensor.origin is not None and tensor.origin.folded
    }
    made = onnx.ModelProto()
    made.CopyFrom(model)
    write_back(made.graph, imported, changed)
    made.ir_version = max(made.ir_version, INITIALIZERS_BY_THEMSELVES)
    return made
