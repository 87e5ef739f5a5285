"""Identity, and what is one outside training: Dropout. It never reaches the device.

The frontend lets whoever reads the copy read the original.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    OnnxNode,
    Operator,
    Scope,
    Unsupported,
    imports,
    register,
    same_shape,
)


@imports("Identity", becomes=("Identity",), covers="everything")
def identity(node: OnnxNode, scope: Scope) -> None:
    """Identity."""
    scope.emit("Identity", node.name, (scope.activation(node, 0).name,), node.outputs[0])


@imports("Dropout", becomes=("Identity",), covers="inference", limits="training_mode, the mask")
def dropout(node: OnnxNode, scope: Scope) -> None:
    """Dropout in inference: the same as Identity."""
    x = scope.activation(node, 0)
    training = scope.optional(node, 2)
    if training is not None and training.any():
        raise Unsupported(
            "training_mode is true", "inference: in PyTorch call model.eval() before the export"
        )
    if scope.uses_output(node, 1):
        raise Unsupported("its mask is used", "its first output only")
    scope.emit("Identity", node.name, (x.name,), node.outputs[0])


def _leftover(node: Node, graph: Graph) -> Unsupported:
    return Unsupported("it only copies the input", "a network that computes")


register(Operator("Identity", None, None, same_shape, leftover=_leftover))
