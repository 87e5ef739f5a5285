"""--head: a fresh classifier on what a model computes, written into the ONNX file.

`dense:10` is one dense layer with 10 outputs, `dense:64,10` is 64 units, Relu, then 10 outputs:
Flatten where the features are not a row, and a Gemm for each layer. `elm:128,10` is 128 units with
the weights of `HashedGemm`, which never learn, then Tanh and 10 outputs. `*` is the number of
outputs of the model. `prototypes:5` is a dense layer of 5 outputs that begins at zero. Biases are
zero. Weights are drawn uniformly from +-bound:

    He      bound = sqrt(6 / fan_in)               layers before a Relu   (He et al. 2015)
    Glorot  bound = sqrt(6 / (fan_in + fan_out))   the last layer         (Glorot and Bengio 2010)

by numpy's PCG64 from the seed, layer after layer, in C order of the weight (outputs, inputs). The
weights of the last layer are zero instead where that is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tinyodl.errors import ModelError, UserError
from tinyodl.frontend.build import value_shapes
from tinyodl.frontend.cut import batch_symbol, ending_at
from tinyodl.frontend.dequantized import real_value
from tinyodl.frontend.edit import drop_unused, fresh_name
from tinyodl.frontend.tap import flattened
from tinyodl.graph import Array
from tinyodl.ops.hashed_gemm import hashed_weights
from tinyodl.ops.shared import MAX_ELEMENTS, unused

_SPEC = re.compile(
    r"(?:dense:|(prototypes):(?=[^,]+$)|(elm):(?=\d+,[^,]+$))((?:\d{1,9},)*(?:\d{1,9}|\*))"
)
_ON_SCORES = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "Identity"})
_VIEWS = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearSoftmax", "QLinearSigmoid"})
_PASSED_OVER = _ON_SCORES | _VIEWS | _QUANTIZED
# The slots of the weights of what may be a dense layer.
_DENSE = {"Gemm": 1, "MatMul": 1, "Conv": 1, "QGemm": 3, "QLinearMatMul": 3, "QLinearConv": 3}


@dataclass(frozen=True)
class Head:
    """The head to add: the units of each layer, the last None for as many as the model has.

    `hashed`: the first layer's weights are a hash. `zero`: the last layer's weights begin at zero,
    and its biases at `bias`.
    `standardized`: a BatchNormalization that changes nothing yet is in front of the last layer.
    `sigmoid`: a Sigmoid follows the last layer. `grows`: its first outputs begin with the weights
    of the model's own last layer, the others at zero.
    """

    sizes: tuple[int | None, ...]
    hashed: bool = False
    zero: bool = False
    bias: float = 0.0
    standardized: bool = False
    sigmoid: bool = False
    grows: bool = False


@dataclass(frozen=True)
class Headed:
    """A model with a fresh head: its dense layers that can learn, and the hashed one that cannot.

    `standardized` is the BatchNormalization in front of the last of them.
    """

    model: onnx.ModelProto
    layers: tuple[str, ...]
    hashed: str | None = None
    standardized: str | None = None


def parse_head(spec: str) -> Head:
    """The head described by `spec`. Raises UserError."""
    found = _SPEC.fullmatch(spec.replace(" ", ""))
    sizes = (
        tuple(None if size == "*" else int(size) for size in found[3].split(",")) if found else ()
    )
    if found is None or 0 in sizes:
        raise UserError(
            f"--head {spec}: give the units of each dense layer, as dense:10 or dense:64,10, the "
            "most labels of prototypes, as prototypes:10, or the units of a hashed hidden layer "
            "and of the output, as elm:128,10"
        )
    return Head(sizes, hashed=found[2] == "elm", zero=found[1] is not None)


def classifier_input(model: onnx.ModelProto, output: str) -> str | None:
    """The input of the last dense layer, if the output is this layer's; else None.

    The search goes back from the output through Softmax, LogSoftmax, Sigmoid, Identity, views and
    quantisation. The last dense layer is then a Gemm, a MatMul, the Add of a constant to one of
    them, or a Conv of one pixel, each with a constant weight. Otherwise the output is an embedding.
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
    head: Head,
    begun: tuple[Array, Array] | None,
    outputs: int,
    seed: int,
    source: str,
    before: onnx.ModelProto,
) -> Headed:
    """The model that ends with a fresh head on the value `on`, of this shape with batch 1.

    `begun` are weight and bias of its first outputs, if it `grows`; `outputs` is how many the model
    has now. No fresh value has the name of another value in the model `before` all changes. Raises
    ModelError for a head that is too large. One long function, because each layer reads the one
    before.
    """
    features = prod(shape)
    sizes = tuple(outputs if size is None else size for size in head.sizes)
    if features * sizes[0] > MAX_ELEMENTS:
        raise ModelError(
            f"{source}: a head of {sizes[0]} units on {features} features is too large; cut later, "
            "where there are fewer features"
        )
    made = ending_at(model, on, source)
    graph = made.graph
    names = {node.name for node in graph.node}
    others = {value for node in before.graph.node for value in node.output}

    def fresh(name: str) -> str:
        free, count = fresh_name(graph, name), 1
        while free in others:
            count += 1
            free = fresh_name(graph, f"{name}_{count}")
        return free

    x = flattened(graph, real_value(graph, on), shape, names)
    layers = []
    standardized = None
    random = np.random.default_rng(seed)
    for index, units in enumerate(sizes):
        last = index == len(sizes) - 1
        hashed = head.hashed and index == 0
        if last and head.standardized:
            standardized, x = _standardized(graph, x, features, names, fresh)
        if hashed:
            weight, bias = hashed_weights(seed, units, features)
        elif last and begun:
            weight, bias = _grown(begun, units, features, source)
        elif last and head.zero:
            weight = np.zeros((units, features), np.float32)
            bias = np.full(units, head.bias, np.float32)
        else:
            weight, bias = _drawn(random, units, features, last), np.zeros(units, np.float32)
        layer = unused(f"head.dense{index + 1}", names)
        w, b = fresh(f"{layer}.weight"), fresh(f"{layer}.bias")
        graph.initializer.extend(
            (onnx.numpy_helper.from_array(weight, w), onnx.numpy_helper.from_array(bias, b))
        )
        y = fresh("head.scores" if last else f"{layer}.output")
        graph.node.append(onnx.helper.make_node("Gemm", [x, w, b], [y], name=layer, transB=1))
        if not last:
            op = "Tanh" if hashed else "Relu"
            bent = op.lower()
            name, x = unused(f"head.{bent}{index + 1}", names), fresh(f"{layer}.{bent}")
            graph.node.append(onnx.helper.make_node(op, [y], [x], name=name))
        layers.append(layer)
        features = units
    if head.sigmoid:
        x, y = y, fresh("head.probabilities")
        name = unused("head.sigmoid", names)
        graph.node.append(onnx.helper.make_node("Sigmoid", [x], [y], name=name))
    _end_with(graph, y, [batch_symbol(made) or 1, sizes[-1]])
    drop_unused(graph)
    first = layers[0] if head.hashed else None
    return Headed(made, tuple(layers[head.hashed :]), first, standardized)


def _standardized(
    graph: onnx.GraphProto, x: str, features: int, names: set[str], fresh: Callable[[str], str]
) -> tuple[str, str]:
    """A BatchNormalization of mean 0 and variance 1 behind x: its name and its output."""
    name = unused("head.standardize", names)
    constants = {"scale": 1, "bias": 0, "mean": 0, "variance": 1}
    operands = [x]
    for kind, value in constants.items():
        operands.append(fresh(f"{name}.{kind}"))
        array = np.full(features, value, np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(array, operands[-1]))
    y = fresh(f"{name}.output")
    graph.node.append(onnx.helper.make_node("BatchNormalization", operands, [y], name=name))
    return name, y


def _grown(
    begun: tuple[Array, Array], outputs: int, inputs: int, source: str
) -> tuple[Array, Array]:
    """The weight and the bias of a layer with more outputs, whose new ones are zero."""
    known, features = begun[0].shape
    if features != inputs:
        raise ModelError(
            f"{source}: its last dense layer has {features} inputs, what it reads has {inputs}"
        )
    if known > outputs:
        raise UserError(
            f"--max-classes {outputs}: {source} has {known} classes already; give more than that"
        )
    weight, bias = np.zeros((outputs, inputs), np.float32), np.zeros(outputs, np.float32)
    weight[:known], bias[:known] = begun
    return weight, bias


def _drawn(random: np.random.Generator, outputs: int, inputs: int, last: bool) -> Array:
    bound = sqrt(6 / (inputs + outputs)) if last else sqrt(6 / inputs)
    return random.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)


def _end_with(graph: onnx.GraphProto, output: str, shape: Iterable[int | str]) -> None:
    del graph.output[:]
    graph.output.append(
        onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, list(shape))
    )
