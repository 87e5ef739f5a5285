"""Learned integers back into a quantised ONNX file, in its own types, layout and steps.

In the QDQ form a layer reads a DequantizeLinear, perhaps through nodes that only rearrange
constants; in the QOperator form it reads the integers itself. Weights are int8 around 0 or uint8
around 128, or of 2 or 4 bits around the middle; biases are int32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.helper

from tinyodl.frontend import edit
from tinyodl.frontend.constants import PERMUTING
from tinyodl.graph import Array, Tensor
from tinyodl.ops.quantized_import import FORMS
from tinyodl.ops.shared.integer_constants import limits, middle


@dataclass(frozen=True)
class _Place:
    """The input slot of a node that holds integers, and the nodes from there to the layer.

    `way` is the DequantizeLinear (`node` itself) and the nodes after it; () in the QOperator form.
    """

    node: onnx.NodeProto
    slot: int
    way: tuple[onnx.NodeProto, ...] = ()


def write_integers(
    graph: onnx.GraphProto,
    use: tuple[onnx.NodeProto, int],
    tensor: Tensor,
    value: Array,
    constants: Mapping[str, Array],
) -> bool:
    """Write the learned values of the quantised constant that this input slot reads.

    `value` has a weight's new int8 values, or the change of a bias in real numbers. `constants` are
    the values of the file's constants. Returns whether the file can hold the result.
    """
    place = _place(graph, *use)
    held = constants.get(place.node.input[place.slot]) if place else None
    if place is None or held is None or held.dtype.kind == "f":
        return False
    learned = held.astype(np.int64).reshape(-1)
    at = _positions(place, held, tensor, constants).reshape(-1)
    found = _weight(place, tensor, value, constants) if tensor.dtype == "int8" else None
    if tensor.dtype == "int32" and tensor.origin and not tensor.origin.folded:
        steps = _steps(place, held, constants).reshape(-1)[at]
        learned[at] += np.rint(value.astype(np.float64).reshape(-1) / steps).astype(np.int64)
    elif found:
        learned[at[found.other]] = found.q[found.other] + (middle(held.dtype) or 0)
    else:
        return False
    low, high = limits(held.dtype)
    if learned.min() < low or learned.max() > high:
        return False
    node = edit.own_nodes(graph, place.way, use)[0] if place.way else place.node
    edit.write_constant(graph, [(node, place.slot)], learned.astype(held.dtype).reshape(held.shape))
    if found and found.scale is not None:
        edit.write_constant(graph, [(node, place.slot + 1)], found.scale)
    return True


@dataclass(frozen=True)
class _Weight:
    """A learned weight in the steps of the file: its elements `q`, and which of them are `other`.

    `scale` is new where a factor was folded into the weight.
    """

    q: Array
    other: Array
    scale: Array | None = None


def _weight(
    place: _Place, tensor: Tensor, value: Array, constants: Mapping[str, Array]
) -> _Weight | None:
    """None where the file has one scale, and a factor for each channel was folded into that."""
    assert tensor.data is not None and tensor.origin is not None and tensor.quantization is not None
    held = constants[place.node.input[place.slot + 1]]
    scale = tensor.quantization.scales(tensor.shape[0])
    if tensor.origin.folded:
        whole = np.ones(value.size, bool)
        return _Weight(value.reshape(-1), whole, scale) if held.shape == scale.shape else None
    # In dead channels, and there alone, a step may be several of the file's.
    steps = np.rint(scale / held.reshape(-1)).astype(np.int64)
    q = np.clip(value * steps.reshape(-1, *(1,) * (value.ndim - 1)), -128, 127)
    return _Weight(q.reshape(-1), (value != tensor.data).reshape(-1))


def _place(graph: onnx.GraphProto, layer: onnx.NodeProto, slot: int) -> _Place | None:
    """Where the integers of a layer's input are; None where it has none."""
    if layer.op_type in FORMS:
        return _Place(layer, slot)
    producer = {name: node for node in graph.node for name in node.output if name}
    way: list[onnx.NodeProto] = []
    node = producer.get(layer.input[slot]) if slot < len(layer.input) else None
    while node is not None and node.op_type in PERMUTING:
        way.insert(0, node)
        node = producer.get(node.input[0])
    if node is None or node.op_type != "DequantizeLinear":
        return None
    return _Place(node, 0, (node, *way))


def _positions(place: _Place, held: Array, tensor: Tensor, constants: Mapping[str, Array]) -> Array:
    """For each element of a tensor, where it is among the integers that the file holds."""
    at: Array = np.arange(held.size).reshape(held.shape)
    for node in place.way[1:]:
        if node.op_type == "Transpose":
            at = at.transpose(_attribute(node, "perm", range(held.ndim)[::-1]))
        else:
            at = at.reshape(constants[node.output[0]].shape)
    assert tensor.origin is not None
    if tensor.origin.transform == "transpose":
        at = at.reshape(at.shape[0], -1).T
    return at.reshape(tensor.shape)


def _steps(place: _Place, held: Array, constants: Mapping[str, Array]) -> Array:
    """The real value of one step in each of the integers of a bias, float64."""
    node = place.node
    if node.op_type in FORMS:
        x, w = (constants[node.input[slot + 1]] for slot in FORMS[node.op_type].operands)
        scale, axis = x.reshape(-1).astype(np.float64) * w.reshape(-1), held.ndim - 1
    else:
        scale = constants[node.input[1]].reshape(-1).astype(np.float64)
        axis = _attribute(node, "axis", 1)
    shape = [1] * held.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    return np.broadcast_to(scale.reshape(shape), held.shape)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = (onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name)
    return next(found, default)
