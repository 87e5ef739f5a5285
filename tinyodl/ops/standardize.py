"""Standardize: a BatchNormalization of one row whose mean and variance follow the samples.

    y = (x - mean) / sqrt(variance + epsilon) * scale + bias

Inputs: x (1, K); scale and bias (K), absent where they are 1 and 0; mean and variance (K), kept by
the device. Output: (1, K). The plan has "statistics" for the layer. The gradient takes mean and
variance for constants, as in inference.

StandardizeUpdate (x, mean, variance, count) has no output and runs at every TRAIN before the node
itself, so that the statistics include the sample they standardise: no element of n samples is then
further than sqrt(n - 1) from 0. With r = 1 / n, or 1 - forgetting if this is more:

    d = x - mean      mean += r d      variance = (1 - r) (variance + r d^2)

Without forgetting these are the mean and the population variance of all samples. Welford: Note on a
method for calculating corrected sums of squares and products, 1962; as the input of a layer that
learns on a stream: Ren, Anicic and Runkler, TinyOL, IJCNN 2021.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Phase, Storage, Tensor
from tinyodl.ops.shared import Backward, Call, Operator, Ref, register, same_shape
from tinyodl.ops.shared.operator import (
    Rewrite,
)

_KERNEL = "standardize_f32.h"


def standardized(node: Node, graph: Graph) -> Rewrite:
    """A BatchNormalization as `Standardize`, with the mean and the variance that the device keeps.

    They know their place in the ONNX file, so `export` writes them back. Raises UserError.
    """
    if node.op != "BatchNormalization":
        raise UserError(
            f"the plan lets layer {node.name!r} learn its statistics; only a BatchNormalization "
            f"has any, and this is {node.op}: plan 'weights', 'bias' or 'none'"
        )
    x, scale, bias, mean, _ = node.inputs
    shape = graph.shape(x)
    if len(shape) != 2 or shape[0] != 1:
        raise UserError(
            f"the plan lets BatchNormalization {node.name!r} learn its statistics, on a map of "
            f"shape {shape}; they can be learned of a row of features (1, K)"
        )
    held, origin = graph.tensor(mean), graph.tensor(mean).origin
    assert origin is not None
    if graph.consumers[mean] != (node,) or node.inputs.count(mean) > 1 or origin.tied:
        raise UserError(
            f"the plan lets BatchNormalization {node.name!r} learn its statistics, and its mean is "
            "a constant of other nodes or slots too; give it one of its own"
        )
    variance = np.asarray(node.attrs["variance"], np.float32)
    made = [
        replace(held, storage=Storage.STATE),
        Tensor(
            f"{mean}.variance",
            variance.shape,
            Storage.STATE,
            data=variance,
            origin=replace(origin, slot=4, initializer=None),
        ),
    ]
    operands = (x, _unless(scale, 1, graph), _unless(bias, 0, graph), mean, made[1].name)
    attrs = {"epsilon": node.attrs["epsilon"]}
    return Node("Standardize", node.name, operands, node.outputs, attrs), made


def _unless(constant: str, value: float, graph: Graph) -> str:
    """The constant's name, "" where it has that value everywhere."""
    data = graph.tensor(constant).data
    return "" if data is not None and (data == value).all() else constant


def with_updates(graph: Graph, forgetting: float, seen: int) -> Graph:
    """Puts a `StandardizeUpdate` before each `Standardize`; it has seen so many samples."""
    nodes: list[Node] = []
    counts: list[Tensor] = []
    for node in graph.nodes:
        if node.op == "Standardize":
            x, _, _, mean, variance = node.inputs
            count = f"<{node.name}.count>"
            counts.append(Tensor(count, (1,), Storage.STATE, "int32", np.array([seen], np.int32)))
            operands = (x, mean, variance, count)
            attrs = {"forgetting": forgetting}
            op = "StandardizeUpdate"
            nodes.append(Node(op, f"{node.name}.{op}", operands, (), attrs, Phase.UPDATE))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes)).with_tensors(counts) if counts else graph


def _call(node: Node, graph: Graph) -> Call:
    operands = tuple(map(Ref, node.inputs))
    size, epsilon = graph.tensor(node.inputs[0]).size, float(node.attrs["epsilon"])
    return Call("standardize_f32", (size, epsilon, *operands, Ref(node.outputs[0])))


def _update_call(node: Node, graph: Graph) -> Call:
    size = graph.tensor(node.inputs[0]).size
    least = 1.0 - node.attrs["forgetting"]
    return Call("standardize_update_f32", (size, least, *map(Ref, node.inputs)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    x, scale, _, _, variance = node.inputs
    if backward.wants(x):
        reads = (gy, scale, variance)
        backward.add(x, backward.emit("StandardizeInputGradient", node, reads, like=x))


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    operands = tuple(map(Ref, (*node.inputs, *node.outputs)))
    size, epsilon = graph.tensor(node.inputs[0]).size, float(node.attrs["epsilon"])
    return Call("standardize_input_gradient_f32", (size, epsilon, *operands))


def _macs(node: Node, graph: Graph) -> int:
    return graph.tensor(node.inputs[0]).size


register(Operator("Standardize", _call, _KERNEL, same_shape, _macs, _gradient, in_place=(0,)))
register(Operator("StandardizeUpdate", _update_call, _KERNEL, macs=lambda n, g: 3 * _macs(n, g)))
register(
    Operator("StandardizeInputGradient", _input_gradient_call, _KERNEL, macs=_macs, in_place=(0,))
)
