"""--head: a fresh classifier on what a model computes, written into the ONNX file.

`dense:10` is one dense layer with 10 outputs, `dense:64,10` is 64 units, Relu, then 10 outputs:
Flatten where the features are not a row, and a Gemm for each layer. Biases are zero. Weights are
drawn uniformly from +-bound:

    He      bound = sqrt(6 / fan_in)               layers before a Relu   (He et al. 2015)
    Glorot  bound = sqrt(6 / (fan_in + fan_out))   the last layer         (Glorot and Bengio 2010)

by numpy's PCG64 from the seed, layer after layer, in C order of the weight (outputs, inputs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tinyodl.errors import ModelError, UserError
from tinyodl.frontend.build import value_shapes
from tinyodl.frontend.cut import batch_symbol, drop_unused, ending_at
from tinyodl.frontend.dequantized import real_value
from tinyodl.frontend.edit import fresh_name
from tinyodl.graph import Array
from tinyodl.ops.shared import MAX_ELEMENTS, unused

_SPEC = re.compile(r"dense:(\d{1,9}(?:,\d{1,9})*)")
_ON_SCORES = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "Identity"})
_VIEWS = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearSoftmax", "QLinearSigmoid"})
_PASSED_OVER = _ON_SCORES | _VIEWS | _QUANTIZED
# The slots of the weights of what may be a dense layer.
_DENSE = {"Gemm": 1, "MatMul": 1, "Conv": 1, "QGemm": 3, "QLinearMatMul": 3, "QLinearConv": 3}


@dataclass(frozen=True)
class Headed:
    """A model with a fresh head, and the names of the head's dense layers."""

    model: onnx.ModelProto
    layers: tuple[str, ...]


def head_sizes(spec: str) -> tuple[int, ...]:
    """The units of each dense layer. Raises UserError."""
    found = _SPEC.fullmatch(spec.replace(" ", ""))
    sizes = tuple(int(size) for size in found[1].split(",")) if found else ()
    if not sizes or 0 in sizes:
        raise UserError(
            f"--head {spec}: give the units of each dense layer, as dense:10 or dense:64,10"
        )
    return sizes


def classifier_input(model: onnx.ModelProto, output: str) -> str | None:
    """What the last dense layer reads, where the output is that layer's; else None.

    From the output back, Softmax, LogSoftmax, Sigmoid, Identity, views and quantisation are passed
    over. Then a Gemm, a MatMul, the Add of a constant to one, or a Conv of one pixel, whose weight
    is constant, is the last dense layer. Anything else makes the output an embedding.
    """
    graph = model.graph
    producer = {value: node for node in graph.node for value in node.output if value}
    constant = _constants(graph)
    node = producer.get(output)
    while node is not None and node.op_type in _PASSED_OVER:
        node = producer.get(node.input[0])
    if node is not None and node.op_type == "Add":
        computed = [value for value in node.input if value not in constant]
        node = producer.get(computed[0]) if len(computed) == 1 else None
    if (
        node is None
        or node.op_type not in _DENSE
        or node.input[_DENSE[node.op_type]] not in constant
    ):
        return None
    if node.op_type in ("Conv", "QLinearConv") and not _on_one_pixel(model, node):
        return None
    return str(node.input[0])


def _constants(graph: onnx.GraphProto) -> set[str]:
    """Initializers, and what is made of constants alone, as a dequantised or transposed weight."""
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if all(name in constant for name in node.input if name):
            constant.update(node.output)
    return constant


def _on_one_pixel(model: onnx.ModelProto, conv: onnx.NodeProto) -> bool:
    """Whether a convolution sees a map of one pixel, all its channels at once."""
    group = next((a.i for a in conv.attribute if a.name == "group"), 1)
    shapes = value_shapes(model, "")
    maps = [shapes.get(name, ())[2:] for name in (conv.input[0], conv.output[0])]
    return group == 1 and all(maps) and {size for each in maps for size in each} == {1}


def with_head(
    model: onnx.ModelProto,
    on: str,
    shape: Sequence[int],
    sizes: Sequence[int],
    seed: int,
    source: str,
) -> Headed:
    """The model that ends with a fresh head on the value `on`, of this shape with batch 1.

    Raises ModelError when the head would be beyond all measure.
    """
    features = prod(shape)
    if features * sizes[0] > MAX_ELEMENTS:
        raise ModelError(
            f"{source}: a head of {sizes[0]} units on {features} features is too large; cut later, "
            "where there are fewer features"
        )
    made = ending_at(model, on, source)
    graph = made.graph
    x = real_value(graph, on)
    names = {node.name for node in graph.node}
    if len(shape) != 2 or shape[0] != 1:
        flat = fresh_name(graph, "head.features")
        axis = 1 if shape and shape[0] == 1 else 0
        name = unused("head.flatten", names)
        graph.node.append(onnx.helper.make_node("Flatten", [x], [flat], name=name, axis=axis))
        x = flat
    layers = []
    random = np.random.default_rng(seed)
    for index, outputs in enumerate(sizes):
        last = index == len(sizes) - 1
        weight = _drawn(random, outputs, features, last)
        layer = unused(f"head.dense{index + 1}", names)
        w, b = fresh_name(graph, f"{layer}.weight"), fresh_name(graph, f"{layer}.bias")
        bias = np.zeros(outputs, np.float32)
        graph.initializer.extend(
            (onnx.numpy_helper.from_array(weight, w), onnx.numpy_helper.from_array(bias, b))
        )
        y = fresh_name(graph, "head.scores" if last else f"{layer}.output")
        graph.node.append(onnx.helper.make_node("Gemm", [x, w, b], [y], name=layer, transB=1))
        if not last:
            name, x = unused(f"head.relu{index + 1}", names), fresh_name(graph, f"{layer}.relu")
            graph.node.append(onnx.helper.make_node("Relu", [y], [x], name=name))
        layers.append(layer)
        features = outputs
    _end_with(graph, y, [batch_symbol(made) or 1, sizes[-1]])
    drop_unused(graph)
    return Headed(made, tuple(layers))


def _drawn(random: np.random.Generator, outputs: int, inputs: int, last: bool) -> Array:
    bound = sqrt(6 / (inputs + outputs)) if last else sqrt(6 / inputs)
    return random.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)


def _end_with(graph: onnx.GraphProto, output: str, shape: Iterable[int | str]) -> None:
    del graph.output[:]
    graph.output.append(
        onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, list(shape))
    )
