"""Which output is trained where a file has several, and what each of them looks like."""

from __future__ import annotations

from contextlib import suppress

import onnx

from tinyodl.frontend.load import bound, inferred, input_faults, network_inputs

_REAL = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
_VIEWS = frozenset(
    (
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout"),
        *("QuantizeLinear", "DequantizeLinear", "Concat", "Slice", "Gather"),
    )
)
_BY_OPERATOR = {
    "Softmax": "probabilities",
    "LogSoftmax": "logarithms of probabilities",
    "Sigmoid": "probabilities, each by itself",
    "ArgMax": "a label",
    "ArrayFeatureExtractor": "a label",
    "Gemm": "scores",
    "MatMul": "scores",
}
_RECURRENT = ("RNN", "GRU", "LSTM")


def only_real_output(model: onnx.ModelProto) -> str | None:
    """The only output of float32 or 8-bit integers among several; None if there is no such one."""
    real = [v.name for v in model.graph.output if v.type.tensor_type.elem_type in _REAL]
    return real[0] if len(real) == 1 and len(model.graph.output) > 1 else None


def described(model: onnx.ModelProto, source: str) -> list[str]:
    """A line for each output: its name, shape, and what it looks like."""
    known = model
    with suppress(Exception):  # onnx raises whatever its C++ half threw; then shapes are missing
        ready = not any(input_faults(value) for value in network_inputs(model.graph))
        known = inferred(bound(model, source)) if ready else inferred(model)
    shapes = {value.name: _shape(value) for value in known.graph.output}
    looks = {value.name: _looks(value, model) for value in model.graph.output}
    return [f"{name}: {shapes.get(name, '')}, {look}" for name, look in looks.items()]


def _shape(value: onnx.ValueInfoProto) -> str:
    if not value.type.HasField("tensor_type"):
        return "of other things than numbers"
    if not value.type.tensor_type.HasField("shape"):
        return "of unknown shape"
    dimensions = value.type.tensor_type.shape.dim
    sizes = [
        str(each.dim_value) if each.dim_value else each.dim_param or "?" for each in dimensions
    ]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _looks(value: onnx.ValueInfoProto, model: onnx.ModelProto) -> str:
    """What an output is, by its type and the node that computes it."""
    kind = value.type.tensor_type.elem_type
    if kind not in _REAL:
        integers = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.STRING)
        return "a label" if kind in integers else "no real numbers"
    makers = {name: node for node in model.graph.node for name in node.output}
    name = value.name
    node = makers.get(name)
    while node is not None and node.op_type in _VIEWS:
        name = node.input[0]
        node = makers.get(name)
    if node is None:
        return "a copy of an input"
    if node.op_type in _RECURRENT and list(node.output).index(name) > 0:
        return "a state"
    if node.op_type in _RECURRENT:
        return "the states of all steps"
    return _BY_OPERATOR.get(node.op_type, f"real numbers, from {node.op_type} '{node.name}'")
