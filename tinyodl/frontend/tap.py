"""--tap: the values of a network that a fresh head reads, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import onnx
import onnx.helper

from tinyodl.errors import ModelError
from tinyodl.frontend.build import value_shapes
from tinyodl.frontend.cut import computed_value, ending_at
from tinyodl.frontend.dequantized import real_value, rounded_value
from tinyodl.frontend.edit import fresh_name
from tinyodl.frontend.names import node_names
from tinyodl.ops.shared import unused


class Tapped(NamedTuple):
    """The network up to its taps, and the value that holds what they read."""

    model: onnx.ModelProto
    value: str


def tapped(model: onnx.ModelProto, taps: Sequence[str], source: str) -> Tapped:
    """The network up to what the taps read: nodes by name, values, or inputs.

    Of one tap it is the value itself, of several a row of all of them in this order. Raises
    UserError for a tap that does not exist.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    graph = whole.graph
    inputs = {value.name for value in graph.input}
    values = [tap if tap in inputs else _made(whole, tap, source) for tap in taps]
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
