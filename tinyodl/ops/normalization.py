"""Layer, instance and group normalisation: each row to mean 0 and variance 1, then scale and bias.

    y = n * scale + bias,  n = (x - mean) * rstd,  rstd = 1 / sqrt(variance + epsilon)

over the elements of a row. A row is `channels` channels of `positions` elements, and `groups` rows
after another make up all channels: layer normalisation has rows of channels with one position each,
instance normalisation a row for each channel.

Inputs: x, scale (groups * channels), bias or absent. Outputs: y like x, mean and rstd, one for each
row, in the shape `statistics`. Attributes: groups, channels, positions, epsilon, statistics.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tinyodl.errors import ModelError
from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    Layer,
    Learner,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    ShapeTuple,
    Struct,
    Unsupported,
    imports,
    register,
)


@imports(
    "LayerNormalization",
    becomes=("Normalization",),
    covers="axis, epsilon; the mean and the inverse deviation as outputs",
    limits="stash_type other than float32, a scale or bias that is computed or broadcast",
)
def layer_normalization(node: OnnxNode, scope: Scope) -> None:
    """LayerNormalization over the axes from `axis` on."""
    x = scope.activation(node, 0)
    axis = node.axis(-1, len(x.shape))
    if node.integer("stash_type", 1) != 1:
        raise Unsupported(f"stash_type is {node.attrs['stash_type']}", "1, float32")
    row = x.shape[axis:]
    statistics = (*x.shape[:axis], *(1 for _ in row))
    _emit(node, scope, row, (1, prod(row), 1), statistics)


@imports(
    "InstanceNormalization",
    becomes=("Normalization",),
    covers="any number of spatial axes, epsilon",
    limits="a scale or bias that is computed",
)
def instance_normalization(node: OnnxNode, scope: Scope) -> None:
    """InstanceNormalization: each channel of each item by itself."""
    shape = scope.activation(node, 0).shape
    if len(shape) < 2:
        raise Unsupported(f"its input has the shape {shape}", "batch, channels and more")
    _emit(node, scope, shape[1:2], (shape[1], 1, prod(shape[2:])), shape[:2])


@imports(
    "GroupNormalization",
    becomes=("Normalization",),
    covers="opset 21: num_groups, epsilon",
    limits="opset 18 to 20 with groups of several channels, a scale or bias that is computed",
)
def group_normalization(node: OnnxNode, scope: Scope) -> None:
    """GroupNormalization with a scale and bias for each channel, as since opset 21."""
    shape = scope.activation(node, 0).shape
    groups = node.integer("num_groups", 0)
    if len(shape) < 2 or groups < 1 or shape[1] % groups:
        raise Unsupported(f"{groups} groups of {shape}", "channels that divide evenly into groups")
    if node.opset < 21 and groups != shape[1]:
        raise Unsupported("opset before 21: one scale for each group", "opset 21")
    rows = (groups, shape[1] // groups, prod(shape[2:]))
    _emit(node, scope, shape[1:2], rows, (shape[0], groups))


def _emit(
    node: OnnxNode,
    scope: Scope,
    parameters: ShapeTuple,
    rows: tuple[int, int, int],
    statistics: ShapeTuple,
) -> None:
    groups, channels, positions = rows
    epsilon = node.number("epsilon", 1e-5)
    if not (np.isfinite(epsilon) and epsilon >= 0):
        raise Unsupported(f"epsilon is {epsilon}", "a finite number, not negative")
    held = []
    for slot in (1, 2):
        if slot == 2 and not node.input(slot):
            held.append("")
            continue
        value = scope.floats(node, slot)
        if value.shape != parameters:
            raise Unsupported(
                f"'{node.input(slot)}' has the shape {value.shape}", f"{parameters}, constant"
            )
        held.append(scope.parameter(node, slot, value.reshape(-1)))
    attrs = {
        "groups": groups,
        "channels": channels,
        "positions": positions,
        "epsilon": epsilon,
        "statistics": statistics,
    }
    outputs = [*node.outputs, "", ""][:3]
    scope.emit_several("Normalization", node.name, (node.inputs[0], *held), outputs, attrs)


def _shapes(node: Node, shapes: tuple[ShapeTuple, ...]) -> tuple[ShapeTuple, ...]:
    statistics = tuple(node.attrs["statistics"])
    return shapes[0], statistics, statistics


def _geometry(node: Node) -> Struct:
    sizes = tuple((name, int(node.attrs[name])) for name in ("groups", "channels", "positions"))
    return Struct("normalization_shape", (("rows", prod(node.attrs["statistics"])), *sizes))


def _call(node: Node, graph: Graph) -> Call:
    operands = (Ref(name) for name in (*node.inputs, *node.outputs))
    return Call("normalization_f32", (_geometry(node), float(node.attrs["epsilon"]), *operands))


def _gradient(
    backward: Backward, node: Node, gy: str | None, gmean: str | None, grstd: str | None
) -> None:
    x, scale, bias = node.inputs
    mean, rstd = node.outputs[1:]
    if gy is None:
        raise ModelError(
            f"node '{node.name}': the loss depends on its mean or deviation alone, which has no "
            "gradient; freeze the layers before it"
        )
    if backward.wants(x):
        reads = (gy, gmean or "", grstd or "", x, scale, mean, rstd)
        backward.add(x, backward.emit("NormalizationInputGradient", node, reads, like=x))
    if backward.wants(scale):
        backward.learn("NormalizationScaleGradient", node, scale, (gy, x, mean, rstd))
    if backward.wants(bias):
        backward.learn("NormalizationBiasGradient", node, bias, (gy,))


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    operands = (Ref(name) for name in (*node.inputs, *node.outputs))
    return Call("normalization_input_gradient_f32", (_geometry(node), *operands))


def _scale_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x, mean, rstd, scale = node.inputs[:5]
    operands = (Ref(gy), Ref(x), Ref(mean), Ref(rstd), Learner(scale))
    return Call("normalization_scale_gradient_f32", (_geometry(node), *operands))


def _bias_gradient_call(node: Node, graph: Graph) -> Call:
    gy, bias = node.inputs[:2]
    return Call("normalization_bias_gradient_f32", (_geometry(node), Ref(gy), Learner(bias)))


def _macs(node: Node, graph: Graph) -> int:
    """Normalising, and scaling."""
    return 2 * graph.tensor(node.inputs[0]).size


register(
    Operator(
        "Normalization",
        _call,
        "normalization_f32.h",
        _shapes,
        _macs,
        _gradient,
        in_place=(0,),
        layer=Layer(weights=(1,), biases=(2,)),
    )
)
register(
    Operator(
        "NormalizationInputGradient",
        _input_gradient_call,
        "normalization_f32.h",
        macs=_macs,
        in_place=(0,),
    )
)
register(
    Operator(
        "NormalizationScaleGradient",
        _scale_gradient_call,
        "normalization_gradient_f32.h",
        macs=_macs,
    )
)
register(Operator("NormalizationBiasGradient", _bias_gradient_call, "normalization_gradient_f32.h"))
