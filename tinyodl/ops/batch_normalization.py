"""BatchNormalization with fixed statistics, as in inference: channels are on axis 1.

    y = (x - mean) * rstd * scale + bias        rstd = 1 / sqrt(variance + epsilon)

Inputs: x (N, C, ...), and scale, bias, mean and rstd (C), which are constants. Scale and bias can
learn. As long as they are frozen, the layer before absorbs the node where there is one.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tinyodl.graph import Array, Graph, Node, Storage, Tensor
from tinyodl.ops.shared import (
    Affine,
    Argument,
    Backward,
    Call,
    Layer,
    Learner,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    Unsupported,
    imports,
    register,
    same_shape,
)


@imports(
    "BatchNormalization",
    becomes=("BatchNormalization",),
    covers="fixed statistics; epsilon",
    limits="training_mode, statistics that are computed",
)
def batch_normalization(node: OnnxNode, scope: Scope) -> None:
    """BatchNormalization of inference."""
    x = scope.activation(node, 0)
    if node.integer("training_mode", 0):
        raise Unsupported(
            "training_mode is 1",
            "training_mode 0: in PyTorch call model.eval() before the export",
        )
    if node.opset < 9 and not node.integer("spatial", 1):
        raise Unsupported("spatial is 0", "statistics of channels, spatial 1")
    if scope.uses_output(node, 1):
        raise Unsupported("its running mean or variance is used", "its first output only")
    channels = x.shape[1] if len(x.shape) > 1 else 1
    for slot in (1, 2, 3, 4):
        shape = scope.floats(node, slot).shape
        if shape != (channels,):
            raise Unsupported(
                f"a constant of shape {shape} on {channels} channels", f"({channels},)"
            )
    variance, epsilon = scope.floats(node, 4), node.number("epsilon", 1e-5)
    spread = variance.astype(np.float64) + epsilon
    if not (spread > 0).all():
        raise Unsupported("variance + epsilon is not positive", "positive variances")
    rstd = (1 / np.sqrt(spread)).astype(np.float32)
    name = scope.fresh(f"{node.name}.rstd")
    scope.add(Tensor(name, rstd.shape, Storage.FLASH, data=rstd))
    held = (scope.parameter(node, slot, scope.floats(node, slot)) for slot in (1, 2, 3))
    attrs = {"deviation": np.sqrt(spread), "variance": variance, "epsilon": epsilon}
    scope.emit("BatchNormalization", node.name, (x.name, *held, name), node.outputs[0], attrs)


def _fold(node: Node, graph: Graph) -> Affine:
    scale, bias, mean = (_value(graph.tensor(name)) for name in node.inputs[1:4])
    factor = scale / node.attrs["deviation"]
    shape = graph.shape(node.inputs[0])
    each = (1, factor.size, *(1,) * (len(shape) - 2))[: len(shape)]
    return Affine(factor.reshape(each), (bias - mean * factor).reshape(each))


def _value(tensor: Tensor) -> Array:
    assert tensor.data is not None
    return tensor.data.astype(np.float64)


def _sizes(of: str, graph: Graph) -> tuple[int, int, int]:
    """Items, channels and positions of each."""
    shape = graph.shape(of)
    if len(shape) == 1:
        return shape[0], 1, 1
    return shape[0], shape[1], prod(shape[2:])


def _on(function: str, graph: Graph, of: str, *operands: Argument) -> Call:
    return Call(f"batch_normalization_{function}", (*_sizes(of, graph), *operands))


def _call(node: Node, graph: Graph) -> Call:
    operands = (Ref(name) for name in (*node.inputs, *node.outputs))
    return _on("f32", graph, node.inputs[0], *operands)


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    x, scale, bias, mean, rstd = node.inputs
    if backward.wants(x):
        reads = (gy, scale, rstd)
        backward.add(x, backward.emit("BatchNormalizationInputGradient", node, reads, like=x))
    if backward.wants(scale):
        backward.learn("BatchNormalizationScaleGradient", node, scale, (gy, x, mean, rstd))
    if backward.wants(bias):
        backward.learn("BatchNormalizationBiasGradient", node, bias, (gy,))


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    operands = (Ref(name) for name in (*node.inputs, *node.outputs))
    return _on("input_gradient_f32", graph, node.inputs[0], *operands)


def _scale_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x, mean, rstd, scale = node.inputs[:5]
    operands = (Ref(gy), Ref(x), Ref(mean), Ref(rstd), Learner(scale))
    return _on("scale_gradient_f32", graph, gy, *operands)


def _bias_gradient_call(node: Node, graph: Graph) -> Call:
    gy, bias = node.inputs[:2]
    return _on("bias_gradient_f32", graph, gy, Ref(gy), Learner(bias))


def _macs(node: Node, graph: Graph) -> int:
    """Normalising, and scaling."""
    return 2 * graph.tensor(node.inputs[0]).size


register(
    Operator(
        "BatchNormalization",
        _call,
        "batch_normalization_f32.h",
        same_shape,
        _macs,
        _gradient,
        in_place=(0,),
        layer=Layer(weights=(1,), biases=(2,)),
        fold=_fold,
    )
)
register(
    Operator(
        "BatchNormalizationInputGradient",
        _input_gradient_call,
        "batch_normalization_f32.h",
        macs=lambda n, g: g.tensor(n.inputs[0]).size,
        in_place=(0,),
    )
)
register(
    Operator(
        "BatchNormalizationScaleGradient",
        _scale_gradient_call,
        "batch_normalization_gradient_f32.h",
        macs=_macs,
    )
)
register(
    Operator(
        "BatchNormalizationBiasGradient",
        _bias_gradient_call,
        "batch_normalization_gradient_f32.h",
    )
)
