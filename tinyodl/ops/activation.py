"""Relu and Clip: elementwise, in place, with gradients taken from the output alone.

    Relu: y = max(x, 0)                  gx = gy where y > 0, else 0
    Clip: y = min(max(x, min), max)      gx = gy where min < y < max, else 0

At the exact bounds Clip passes no gradient, as PyTorch's hardtanh and ReLU6. With min > max, y is
max.
Attributes of Clip: min, max (floats, infinite where absent).
"""

from __future__ import annotations

import math

import numpy as np

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    Unsupported,
    imports,
    no_macs,
    register,
    same_shape,
)

_FLT_MAX = float(np.finfo(np.float32).max)  # no bound, as attributes say it


@imports("Relu", becomes=("Relu",), covers="everything")
def relu(node: OnnxNode, scope: Scope) -> None:
    """Relu."""
    scope.emit("Relu", node.name, (scope.activation(node, 0).name,), node.outputs[0])


@imports(
    "Clip",
    becomes=("Clip", "Identity"),
    covers="min and max, one or none of them; attributes before opset 11",
    limits="bounds that are computed",
)
def clip(node: OnnxNode, scope: Scope) -> None:
    """Clip with constant bounds; without bounds it disappears."""
    x = scope.activation(node, 0)
    low, high = _bound(node, scope, 1, -math.inf), _bound(node, scope, 2, math.inf)
    if math.isinf(low) and math.isinf(high):
        scope.emit("Identity", node.name, (x.name,), node.outputs[0])
        return
    scope.emit("Clip", node.name, (x.name,), node.outputs[0], {"min": low, "max": high})


def _bound(node: OnnxNode, scope: Scope, slot: int, default: float) -> float:
    if node.opset < 11:
        given = node.number("max" if slot == 2 else "min", default)
        return default if abs(given) >= _FLT_MAX else given
    value = scope.optional(node, slot)
    if value is None:
        return default
    if value.size != 1 or value.dtype != np.float32:
        raise Unsupported(f"a bound is {value.dtype} of shape {value.shape}", "one float32")
    return float(value.reshape(()))


def _relu_call(node: Node, graph: Graph) -> Call:
    x, y = node.inputs[0], node.outputs[0]
    return Call("relu_f32", (graph.tensor(x).size, Ref(x), Ref(y)))


def _relu_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,), (y,) = node.inputs, node.outputs
    backward.add(x, backward.emit("ReluGradient", node, (gy, y), like=x))


def _relu_gradient_call(node: Node, graph: Graph) -> Call:
    gy, y = node.inputs
    return Call("relu_gradient_f32", (graph.tensor(y).size, Ref(gy), Ref(y), Ref(node.outputs[0])))


def _clip_call(node: Node, graph: Graph) -> Call:
    x, y = node.inputs[0], node.outputs[0]
    bounds = (float(node.attrs["min"]), float(node.attrs["max"]))
    return Call("clip_f32", (graph.tensor(x).size, *bounds, Ref(x), Ref(y)))


def _clip_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,), (y,) = node.inputs, node.outputs
    backward.add(x, backward.emit("ClipGradient", node, (gy, y), like=x))


def _clip_gradient_call(node: Node, graph: Graph) -> Call:
    gy, y = node.inputs
    bounds = (float(node.attrs["min"]), float(node.attrs["max"]))
    operands = (Ref(gy), Ref(y), Ref(node.outputs[0]))
    return Call("clip_gradient_f32", (graph.tensor(y).size, *bounds, *operands))


_KERNEL = "activation_f32.h"
register(Operator("Relu", _relu_call, _KERNEL, same_shape, no_macs, _relu_gradient, in_place=(0,)))
register(Operator("Clip", _clip_call, _KERNEL, same_shape, no_macs, _clip_gradient, in_place=(0,)))
register(Operator("ReluGradient", _relu_gradient_call, _KERNEL, in_place=(0,)))
register(Operator("ClipGradient", _clip_gradient_call, _KERNEL, in_place=(0,)))
