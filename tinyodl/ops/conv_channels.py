"""ConvChannels: a Conv of which some output channels learn their weights, the others stay in flash.

The formula is that of Conv, with the same bits. Of one group, or depthwise.
Inputs: x, w (n, C/group, KH, KW) of the learning channels, b or absent, rest (M - n, ...), uint16
place (M) and channel (n): see `tinyodl.ops.shared.float_learning`. Outputs: y; scratch, where some
filters are laid side by side, absent where one at a time is read.
ConvChannelsInputGradient   of x, from the gradient of y
ConvChannelsWeightGradient  of w, handed to its learner
"""

from __future__ import annotations

from math import prod

from tinyodl.graph import Graph, Node
from tinyodl.ops.conv import geometry
from tinyodl.ops.shared import (
    Argument,
    Backward,
    Call,
    Layer,
    Learner,
    Operator,
    Ref,
    ShapeTuple,
    Struct,
    register,
)
from tinyodl.ops.shared.float_learning import backward_part, forward_part


def _depthwise(node: Node) -> bool:
    return bool(node.attrs["group"] > 1)


def _shapes(node: Node, shapes: tuple[ShapeTuple, ...]) -> tuple[ShapeTuple, ...]:
    x, w, _, rest = shapes[:4]
    top, left, bottom, right = node.attrs["pads"]
    sizes = []
    for axis, padding in ((0, top + bottom), (1, left + right)):
        reach = (w[2 + axis] - 1) * node.attrs["dilations"][axis] + 1
        sizes.append((x[2 + axis] + padding - reach) // node.attrs["strides"][axis] + 1)
    whole = (w[0] + rest[0], *w[1:])
    scratch = (forward_part(whole) * prod(w[1:]),)
    return ((x[0], whole[0], *sizes), scratch)[: max(1, len(node.outputs))]


def _struct(
    node: Node, x: ShapeTuple, w: ShapeTuple, y: ShapeTuple, sizes: tuple[int, int]
) -> Struct:
    """The part of the convolution from so many channels of x to so many filters, in one group."""
    alone = Node(node.op, node.name, (), (), {**node.attrs, "group": 1})
    read, made = sizes
    return geometry(alone, (1, read, *x[2:]), w, (1, made, *y[2:]))


def _rows(node: Node, graph: Graph, w: str, rest: str, place: str) -> tuple[Argument, ...]:
    shape = graph.shape(w)
    return (shape[0], prod(shape[1:]), Ref(place), Ref(w), Ref(rest))


def _forward_call(node: Node, graph: Graph) -> Call:
    x, w, b, rest, place, _ = node.inputs
    y, scratch = (*node.outputs, "")[:2]
    of_x, of_w, of_y = (graph.shape(name) for name in (x, w, y))
    rows = _rows(node, graph, w, rest, place)
    if _depthwise(node):
        part = _struct(node, of_x, of_w, of_y, (1, 1))
        operands = (of_y[1], *rows, Ref(x), Ref(b), Ref(y))
        return Call("depthwise_channels_f32", (part, *operands))
    count = forward_part((of_y[1], *of_w[1:])) if scratch else 1
    part = _struct(node, of_x, of_w, of_y, (of_x[1], count))
    operands = (of_y[1], *rows, Ref(x), Ref(b), Ref(y))
    return Call("conv_channels_f32", (part, *operands, Ref(scratch)))


def _gradient(backward: Backward, node: Node, gy: str, *_: None) -> None:
    x, w, b, rest, place, channel = node.inputs
    if backward.wants(x):
        inputs = (gy, w, rest, place)
        of_w = backward.graph.shape(w)
        whole = (backward.graph.shape(node.outputs[0])[1], *of_w[1:])
        size = whole[0] * backward_part(whole) * prod(of_w[2:])
        likes: tuple[str | ShapeTuple, ...] = (x,) if _depthwise(node) else (x, (size,))
        made = backward.emit_several("ConvChannelsInputGradient", node, inputs, likes)
        backward.add(x, made[0])
    if backward.wants(w):
        backward.learn("ConvChannelsWeightGradient", node, w, (gy, x, channel))
    if b and backward.wants(b):
        backward.learn("ConvBiasGradient", node, b, (gy,))


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    gy, w, rest, place = node.inputs
    gx, scratch = (*node.outputs, "")[:2]
    of_x, of_w, of_y = (graph.shape(name) for name in (gx, w, gy))
    rows = _rows(node, graph, w, rest, place)
    if _depthwise(node):
        part = _struct(node, of_x, of_w, of_y, (1, 1))
        operands = (of_y[1], *rows, Ref(gy), Ref(gx))
        return Call("depthwise_channels_input_gradient_f32", (part, *operands))
    count = backward_part((of_y[1], *of_w[1:]))
    part = _struct(node, of_x, of_w, of_y, (count, of_y[1]))
    operands = (of_x[1], *rows, Ref(gy), Ref(gx), Ref(scratch))
    return Call("conv_channels_input_gradient_f32", (part, *operands))


def _weight_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x, channel, w = node.inputs[:4]
    of_x, of_w, of_y = (graph.shape(name) for name in (x, w, gy))
    depthwise = int(_depthwise(node))
    part = _struct(node, of_x, of_w, of_y, (1 if depthwise else of_x[1], 1))
    operands = (of_w[0], Ref(channel), depthwise, Ref(gy), Ref(x), Learner(w))
    return Call("conv_channels_weight_gradient_f32", (part, *operands))


def _macs(node: Node, graph: Graph, y: str, w: str) -> int:
    return graph.tensor(y).size * prod(graph.shape(w)[1:])


register(
    Operator(
        "ConvChannels",
        shape=_shapes,
        macs=lambda n, g: _macs(n, g, n.outputs[0], n.inputs[1]),
        call=_forward_call,
        kernel="conv_channels_f32.h",
        gradient=_gradient,
        layer=Layer(weights=(1,), biases=(2,), channel_axis=1),
    )
)
register(
    Operator(
        "ConvChannelsInputGradient",
        macs=lambda n, g: _macs(n, g, n.inputs[0], n.inputs[1]),
        call=_input_gradient_call,
        kernel="conv_channels_f32.h",
    )
)
register(
    Operator(
        "ConvChannelsWeightGradient",
        macs=lambda n, g: g.tensor(n.inputs[3]).size * prod(g.shape(n.inputs[0])[2:]),
        call=_weight_gradient_call,
        kernel="conv_channels_gradient_f32.h",
    )
)
