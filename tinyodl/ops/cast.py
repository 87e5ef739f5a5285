"""Cast to float32 of what is float32 already: a copy that disappears.

Casts of constants are folded, from and to any type.
"""

from __future__ import annotations

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
