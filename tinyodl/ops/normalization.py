"""BatchNormalization of inference: y = factor * x + offset for each channel (axis 1).

It is folded into the layer before it. Attributes: factor, offset (float64, broadcast to x).
"""

from __future__ import annotations

import numpy as np

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Affine,
    OnnxNode,
    Operator,
    Scope,
    Unsupported,
    imports,
    place,
    register,
    same_shape,
)


@imports(
    "BatchNormalization",
    becomes=("BatchNormalization",),
    covers="inference, epsilon",
    limits="anywhere but directly after a Conv, Gemm or MatMul, where it is folded",
)
def batch_normalization(node: OnnxNode, scope: Scope) -> None:
    """BatchNormalization of inference: y = factor * x + offset for each channel (axis 1)."""
    x = scope.activation(node, 0)
    if node.integer("training_mode", 0):
        raise Unsupported("training_mode is 1", "inference, training_mode 0")
    if scope.uses_output(node, 1):
        raise Unsupported("its running mean or variance is used", "its first output only")
    scale, bias, mean, variance = (
        scope.floats(node, slot).astype(np.float64) for slot in (1, 2, 3, 4)
    )
    channels = x.shape[1] if len(x.shape) > 1 else 1
    for value in (scale, bias, mean, variance):
        if value.shape != (channels,):
            raise Unsupported(
                f"a constant of shape {value.shape} on {channels} channels", f"({channels},)"
            )
    spread = variance + node.number("epsilon", 1e-5)
    if not (spread > 0).all():
        raise Unsupported("variance + epsilon is not positive", "positive variances")
    factor = scale / np.sqrt(spread)
    each = (1, channels, *(1,) * (len(x.shape) - 2))[: len(x.shape)]
    attrs = {"factor": factor.reshape(each), "offset": (bias - mean * factor).reshape(each)}
    scope.emit("BatchNormalization", node.name, (x.name,), node.outputs[0], attrs)


def _fold(node: Node, graph: Graph) -> Affine:
    return Affine(node.attrs["factor"], node.attrs["offset"])


def _leftover(node: Node, graph: Graph) -> Unsupported:
    return Unsupported(
        f"it stands {place(node, graph)} and cannot be folded",
        "directly after a Conv, Gemm or MatMul whose output nothing else reads",
    )


register(Operator("BatchNormalization", None, None, same_shape, fold=_fold, leftover=_leftover))
