"""Cast of float32 values to float32: a copy that disappears.

Casts of constants are folded, from and to any type.
"""

from __future__ import annotations

import numpy as np
import onnx

from tinyodl.ops.shared import OnnxNode, Scope, Unsupported, imports


@imports(
    "Cast",
    becomes=("Identity",),
    covers="to float32; any type on constants",
    limits="computed values of other types",
)
def cast(node: OnnxNode, scope: Scope) -> None:
    """Cast to float32."""
    x = scope.activation(node, 0)
    to = node.integer("to", onnx.TensorProto.FLOAT)
    if to != onnx.TensorProto.FLOAT:
        known = onnx.TensorProto.DataType.values()
        name = onnx.TensorProto.DataType.Name(to).lower() if to in known else str(to)
        raise Unsupported(f"it makes {name}", "float32")
    scope.emit("Identity", node.name, (x.name,), node.outputs[0])


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
