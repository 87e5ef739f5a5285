"""Real numbers in quantised ONNX graphs: where one is cut, and where a layer learned in float32."""

from __future__ import annotations

import onnx
import onnx.helper

from tinyodl.frontend.edit import fresh_name
from tinyodl.frontend.names import node_names, read_by
from tinyodl.ops.quantized_import import FORMS, MOVING
from tinyodl.ops.shared import unused


def rounded_value(graph: onnx.GraphProto, value: str) -> str:
    """The integers that a value is rounded to before anybody reads it; else the value itself."""
    readers = [node for node in graph.node if value in read_by(node)]
    if len(readers) != 1 or any(output.name == value for output in graph.output):
        return value
    (reader,) = readers
    return str(reader.output[0]) if reader.op_type == "QuantizeLinear" else value


def real_value(graph: onnx.GraphProto, value: str) -> str:
    """The real numbers of a value that holds integers; else the value itself.

    Where no DequantizeLinear makes them yet, one is added at the end.
    """
    quantization = _quantization(graph, value)
    if quantization is None:
        return value
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == value:
            return str(node.output[0])
    real = fresh_name(graph, f"{value}.real")
    name = unused(f"{value}.dequantize", set(node_names(graph)))
    inputs = [value, *quantization]
    graph.node.append(onnx.helper.make_node("DequantizeLinear", inputs, [real], name=name))
    return real


def with_real_weights(graph: onnx.GraphProto, node: onnx.NodeProto) -> onnx.NodeProto:
    """Put DequantizeLinear, the float operator and QuantizeLinear in the place of one on integers.

    Returns the float operator. It reads constants as it did before: they have to become float32.
    """
    form = FORMS[node.op_type]
    place = list(graph.node).index(node)
    constant = {tensor.name for tensor in graph.initializer}
    made: list[onnx.NodeProto] = []
    inputs = []
    for slot in form.operands:
        inputs.append(node.input[slot])
        if node.input[slot] not in constant:
            inputs[-1] = fresh_name(graph, f"{node.input[slot]}.real")
            steps = node.input[slot : slot + 3]
            made.append(onnx.helper.make_node("DequantizeLinear", steps, inputs[-1:]))
    if form.bias is not None and form.bias < len(node.input):
        inputs.append(node.input[form.bias])
    operator = onnx.helper.make_node(form.operator, inputs, node.output, name=node.name)
    operator.attribute.extend(each for each in node.attribute if each.name != "channels_last")
    made.append(operator)
    if form.scale < len(node.input) and node.input[form.scale]:
        operator.output[0] = fresh_name(graph, f"{node.output[0]}.real")
        steps = [operator.output[0], *node.input[form.scale : form.scale + 2]]
        made.append(onnx.helper.make_node("QuantizeLinear", steps, node.output))
    del graph.node[place]
    for offset, each in enumerate(made):
        graph.node.insert(place + offset, each)
    put: onnx.NodeProto = graph.node[place + made.index(operator)]
    return put


def _quantization(graph: onnx.GraphProto, value: str) -> tuple[str, ...] | None:
    """The names of the scale and zero point of computed integers; None for other values."""
    producer = {name: node for node in graph.node for name in node.output if name}
    node = producer.get(value)
    while node is not None and node.op_type in MOVING:
        node = producer.get(node.input[0])
    if node is None:
        return None
    slot = 1 if node.op_type == "QuantizeLinear" else None
    if node.op_type in FORMS:
        slot = FORMS[node.op_type].scale
    if slot is None or slot >= len(node.input):
        return None
    return tuple(node.input[slot : slot + 2])
