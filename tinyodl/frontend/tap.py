"""--tap: the values of a network that a fresh head reads, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tinyodl.errors import ModelError, UserError
from tinyodl.frontend.build import value_shapes
from tinyodl.frontend.cut import computed_value, ending_at
from tinyodl.frontend.dequantized import real_value, rounded_value
from tinyodl.frontend.edit import fresh_name
from tinyodl.frontend.load import opset_of
from tinyodl.frontend.names import node_names
from tinyodl.ops.shared import unused

ERROR = "reconstruction-error"  # as a tap
AXES_ARE_AN_INPUT = 18  # of ReduceMean, from this opset on


class Tapped(NamedTuple):
    """The network up to its taps, and the name of the value with their features."""

    model: onnx.ModelProto
    value: str


def tapped(model: onnx.ModelProto, taps: Sequence[str], source: str) -> Tapped:
    """The network up to what the taps read: nodes by name, values, inputs, or ERROR.

    Of one tap it is the value itself, of several a row of all of them in this order. Raises
    UserError for a tap that does not exist.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    graph = whole.graph
    inputs = {value.name for value in graph.input}
    values = [
        tap
        if tap in inputs
        else _error(whole, source)
        if tap == ERROR
        else _made(whole, tap, source)
        for tap in taps
    ]
    if len(values) == 1:
        return Tapped(ending_at(whole, values[0], source), values[0])
    names = set(node_names(graph))
    rows = [flattened(graph, value, shape_of(whole, value, source), names) for value in values]
    joined = fresh_name(graph, "head.taps")
    name = unused("head.concat", names)
    graph.node.append(onnx.helper.make_node("Concat", rows, [joined], name=name, axis=1))
    return Tapped(ending_at(whole, joined, source), joined)


def _made(model: onnx.ModelProto, tap: str, source: str) -> str:
    """The real numbers of what a node makes."""
    graph = model.graph
    return real_value(graph, rounded_value(graph, computed_value(model, tap, source)))


def _error(model: onnx.ModelProto, source: str) -> str:
    """The mean squared difference of an autoencoder's output and input, which is added: (1, 1)."""
    graph, names = model.graph, set(node_names(model.graph))
    given = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in given]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UserError(
            f"{source}: --tap {ERROR} is of a network with one input and one output; this has "
            f"{len(inputs)} and {len(graph.output)}"
        )
    ends = [inputs[0], graph.output[0].name]
    shapes = [shape_of(model, value, source) for value in ends]
    if prod(shapes[0]) != prod(shapes[1]):
        raise UserError(
            f"{source}: --tap {ERROR} compares the output with the input, and their shapes are "
            f"{shapes[1]} and {shapes[0]}"
        )
    rows = [
        flattened(graph, value, shape, names) for value, shape in zip(ends, shapes, strict=True)
    ]
    made = [fresh_name(graph, f"head.{name}") for name in ("difference", "square", "error")]
    difference, square, error = made
    along: dict[str, Any] = {"axes": [1]} if opset_of(model) < AXES_ARE_AN_INPUT else {}
    operands = [square]
    if not along:
        operands.append(fresh_name(graph, "head.error.axes"))
        axes = onnx.numpy_helper.from_array(np.array([1]), operands[1])
        graph.initializer.append(axes)
    for op, reads, makes, attrs in (
        ("Sub", [rows[1], rows[0]], difference, {}),
        ("Mul", [difference, difference], square, {}),
        ("ReduceMean", operands, error, along),
    ):
        name = unused(makes, names)
        names.add(name)
        graph.node.append(onnx.helper.make_node(op, reads, [makes], name=name, **attrs))
    return error


def flattened(graph: onnx.GraphProto, value: str, shape: Sequence[int], names: set[str]) -> str:
    """A value of this shape with batch 1 as a row: itself, or behind a Flatten that is added."""
    if len(shape) == 2 and shape[0] == 1:
        return value
    flat = fresh_name(graph, "head.features")
    axis = 1 if shape and shape[0] == 1 else 0
    name = unused("head.flatten", names)
    names.add(name)
    graph.node.append(onnx.helper.make_node("Flatten", [value], [flat], name=name, axis=axis))
    return flat


def shape_of(model: onnx.ModelProto, value: str, source: str) -> tuple[int, ...]:
    """The shape of a value with batch 1; ModelError where it is not known before it runs."""
    shape = value_shapes(ending_at(model, value, source), source).get(value)
    if shape is None:
        raise ModelError(
            f"{source}: the shape of '{value}' is not known before it runs; "
            "a head needs a fixed number of features"
        )
    return shape
