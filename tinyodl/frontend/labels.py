"""The metadata of an ONNX file that names the labels its outputs took as the device learned."""

from __future__ import annotations

import json
from collections.abc import Sequence

import onnx
import onnx.numpy_helper

from tinyodl.frontend.edit import write_constant

KEY = "tinyodl.labels"  # of the metadata: a list of integers, one for each output


def keep_outputs(model: onnx.ModelProto, labels: Sequence[int]) -> None:
    """Leave the outputs of a fresh head that stand for these labels: the first ones.

    The head ends with a Gemm of constants, (outputs, features), and what works on each score.
    """
    graph = model.graph
    [gemm] = [node for node in graph.node if node.op_type == "Gemm"][-1:]
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for slot in (1, 2):
        write_constant(graph, [(gemm, slot)], constants[gemm.input[slot]][: len(labels)])
    unread = set(constants) - {name for node in graph.node for name in node.input}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name in unread:
            del graph.initializer[index]
    [output] = graph.output
    output.type.tensor_type.shape.dim[-1].dim_value = len(labels)
    onnx.helper.set_model_props(
        model, {**{p.key: p.value for p in model.metadata_props}, KEY: json.dumps(list(labels))}
    )
