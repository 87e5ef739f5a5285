"""--cut: the part of an ONNX graph that one node's output depends on."""

from __future__ import annotations

import difflib
from contextlib import suppress

import onnx
import onnx.helper
import onnx.shape_inference

from tinyodl.errors import UserError
from tinyodl.frontend.build import value_shapes
from tinyodl.frontend.dequantized import real_value, rounded_value
from tinyodl.frontend.edit import drop_unused
from tinyodl.frontend.load import bound
from tinyodl.frontend.names import node_names


def cut_model(model: onnx.ModelProto, node: str, source: str) -> onnx.ModelProto:
    """The model that ends at a node: its first output becomes the only output of the graph.

    The node itself stays, with everything it depends on. Other nodes, the initializers only they
    read, and inputs that nothing reads any more, are left out. `node` is the name of a node as
    errors and plans show it (`<op>_<index>` where the file gives none), or of a value.
    In a quantised model, the cut comes after the node's QuantizeLinear if it has one, and integer
    outputs are dequantised to real numbers.
    Raises UserError, with the most similar names, when there is no such node or value.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    value = rounded_value(whole.graph, computed_value(whole, node, source))
    return ending_at(whole, real_value(whole.graph, value), source)


def computed_value(model: onnx.ModelProto, node: str, source: str) -> str:
    """The first output of the node of that name, or the value of that name.

    Raises UserError, with the most similar names, if there is no such name.
    """
    names = node_names(model.graph)
    by_name = dict(zip(names, model.graph.node, strict=True))
    made = {value for proto in model.graph.node for value in proto.output if value}
    value = by_name[node].output[0] if node in by_name else node
    if value in made:
        return str(value)
    near = difflib.get_close_matches(node, [*names, *made], n=3, cutoff=0.3) or list(names)[-3:]
    listed = ", ".join(f"'{name}'" for name in near)
    raise UserError(f"{source}: has no node '{node}'; names like it are {listed}")


def ending_at(model: onnx.ModelProto, value: str, source: str) -> onnx.ModelProto:
    """A copy of the model with the only output `value`, reduced to what this output needs."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    output = value_info(model, value, source)
    del graph.output[:]
    graph.output.append(output)
    drop_unused(graph)
    return made


def value_info(model: onnx.ModelProto, name: str, source: str) -> onnx.ValueInfoProto:
    """The type and shape of a value, as far as they are known before it runs.

    Its first dimension is the symbol of the inputs' batch where it is 1 and they have one.
    """
    single = bound(model, source)  # ONNX's inference aborts on sizes that `bound` refuses
    with suppress(Exception):  # onnx raises whatever its C++ half threw; `load_model` reports it
        single = onnx.shape_inference.infer_shapes(single, data_prop=True)
    graph = single.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.name == name and value.type.tensor_type.HasField("shape"):
            made = onnx.ValueInfoProto()
            made.CopyFrom(value)
            dimensions = made.type.tensor_type.shape.dim
            symbol = batch_symbol(model)
            if symbol and dimensions and dimensions[0].dim_value == 1:
                dimensions[0].dim_param = symbol
            return made
    shape = None
    with suppress(Exception):  # as above; the importers know operators that ONNX does not
        shape = value_shapes(model, source).get(name)
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def batch_symbol(model: onnx.ModelProto) -> str:
    """What the file calls the batch dimension of its inputs; "" when that is a number."""
    constant = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        if value.name not in constant and dimensions and dimensions[0].dim_param:
            return str(dimensions[0].dim_param)
    return ""
