"""GemmChannels: a dense layer on one row of which some outputs learn, the others stay in flash.

The formula is that of Gemm, with the same bits.
Inputs: x, w (n, K) of the learning outputs, b or absent, rest (M - n, K), uint16 place (M) and
channel (n): see `tinyodl.ops.shared.float_learning`.
GemmChannelsInputGradient   of x, from the gradient of y
GemmChannelsWeightGradient  of w, handed to its learner
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    Layer,
    Learner,
    Operator,
    Ref,
    ShapeTuple,
    register,
)


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return (*shapes[0][:-1], shapes[1][0] + shapes[3][0])


def _forward_call(node: Node, graph: Graph) -> Call:
    x, w, b, rest, place, _ = node.inputs
    n, (learning, k) = graph.tensor(place).size, graph.shape(w)
    operands = (Ref(place), Ref(w), Ref(rest), Ref(x), Ref(b), Ref(node.outputs[0]))
    return Call("gemm_channels_f32", (n, k, learning, k, *operands))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    x, w, b, rest, place, channel = node.inputs
    if backward.wants(x):
        inputs = (gy, w, rest, place)
        backward.add(x, backward.emit("GemmChannelsInputGradient", node, inputs, like=x))
    if backward.wants(w):
        backward.learn("GemmChannelsWeightGradient", node, w, (gy, x, channel))
    if b and backward.wants(b):
        backward.learn("GemmBiasGradient", node, b, (gy,))


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    gy, w, rest, place = node.inputs
    n, (learning, k) = graph.tensor(place).size, graph.shape(w)
    operands = (Ref(place), Ref(w), Ref(rest), Ref(gy), Ref(node.outputs[0]))
    return Call("gemm_channels_input_gradient_f32", (n, k, learning, k, *operands))


def _weight_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x, channel, w = node.inputs[:4]
    operands = (Ref(channel), Ref(gy), Ref(x), Learner(w))
    return Call("gemm_channels_weight_gradient_f32", (*graph.shape(w), *operands))


def _macs(node: Node, graph: Graph, place: str, w: str) -> int:
    return graph.tensor(place).size * graph.shape(w)[1]


register(
    Operator(
        "GemmChannels",
        shape=_shape,
        macs=lambda n, g: _macs(n, g, n.inputs[4], n.inputs[1]),
        call=_forward_call,
        kernel="gemm_channels_f32.h",
        gradient=_gradient,
        layer=Layer(weights=(1,), biases=(2,), channel_axis=-1),
    )
)
register(
    Operator(
        "GemmChannelsInputGradient",
        macs=lambda n, g: _macs(n, g, n.inputs[3], n.inputs[1]),
        call=_input_gradient_call,
        kernel="gemm_channels_f32.h",
    )
)
register(
    Operator(
        "GemmChannelsWeightGradient",
        macs=lambda n, g: g.tensor(n.inputs[3]).size,
        call=_weight_gradient_call,
        kernel="gemm_channels_gradient_f32.h",
    )
)
