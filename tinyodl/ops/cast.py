"""Cast of float32 values and truth values to float32 or bool.

Truth values are float32 tensors of 0 and 1, so a cast to float32 is a copy that disappears, and one
to bool asks whether the value is not 0. Casts of constants are folded, from and to any type.

An 8-bit input that is cast to float32 stands for the numbers themselves: scale 1, zero point 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from tinyodl.graph import Quantization
from tinyodl.ops.select import not_
from tinyodl.ops.shared import OnnxNode, Scope, Unsupported, imports
from tinyodl.ops.shared.quantized_values import SHIFT


@imports(
    "Cast",
    becomes=("Identity", "Equal", "DequantizeLinear"),
    covers="to float32, from float32, bool and 8-bit inputs; to bool; any type on constants",
    limits="computed values of other types",
)
def cast(node: OnnxNode, scope: Scope) -> None:
    """Cast to float32 or bool."""
    to = node.integer("to", onnx.TensorProto.FLOAT)
    if to == onnx.TensorProto.FLOAT and scope.is_int8(node.input(0)):
        _cast_integers(node, scope)
        return
    x = scope.activation(node, 0)
    if to == onnx.TensorProto.BOOL:
        is_zero = scope.fresh(f"{node.outputs[0]}.zero")
        not_(replace(node, name=scope.fresh_node(f"{node.name}.zero"), outputs=(is_zero,)), scope)
        not_(replace(node, inputs=(is_zero,)), scope)
        return
    if to != onnx.TensorProto.FLOAT:
        known = onnx.TensorProto.DataType.values()
        name = onnx.TensorProto.DataType.Name(to).lower() if to in known else str(to)
        raise Unsupported(f"it makes {name}", "float32")
    scope.emit("Identity", node.name, (x.name,), node.outputs[0])


def _cast_integers(node: OnnxNode, scope: Scope) -> None:
    """Integers to the same real numbers, where they stand for these and no others."""
    x = scope.tensors[node.input(0)]
    same = Quantization((1.0,), -SHIFT if x.name in scope.unsigned else 0)
    if x.quantization not in (None, same):
        raise Unsupported(
            f"'{x.name}' has the scale {x.quantization.scale[0]:g} elsewhere",
            "integers of scale 1 and zero point 0, or DequantizeLinear",
        )
    scope.add(replace(x, quantization=same))
    scope.emit("DequantizeLinear", node.name, (x.name,), node.outputs[0])


@imports(
    "CastLike",
    becomes=("Identity",),
    covers="like float32; constants like anything",
    limits="computed values like another type",
)
def cast_like(node: OnnxNode, scope: Scope) -> None:
    """CastLike, which function bodies use to give a constant the type of their input."""
    like = scope.constants.get(node.input(1))
    if like is None:
        scope.activation(node, 1)  # float32, as everything that is computed
    kind = np.dtype(np.float32) if like is None else like.dtype
    value = scope.constants.get(node.input(0))
    if value is not None:
        scope.constants[node.outputs[0]] = value.astype(kind)
        return
    x = scope.activation(node, 0)
    if kind != np.float32:
        raise Unsupported(f"it makes {kind}", "float32")
    scope.emit("Identity", node.name, (x.name,), node.outputs[0])
