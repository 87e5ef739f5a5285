"""Conv: 2-D convolution, with groups (depthwise included), strides, pads and dilations.

    y[m, p] = b[m] + sum over c, k of w[m, c, k] * x[c, p * stride + k * dilation - pad]

with c in the group of m. Attributes: strides (2), pads (top, left, bottom, right), dilations (2),
group.
Inputs: x (1, C, H, W), w (M, C/group, KH, KW), b (M) or absent. Output: (1, M, OH, OW).
"""

from __future__ import annotations

from math import prod

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
from tinyodl.ops.shared.float_learning import channels_learn
from tinyodl.ops.shared.windows import emit_on_image, spatial_input, windows


@imports(
    "Conv",
    becomes=("Conv", "Reshape"),
    covers="1 or 2 spatial axes; kernel_shape, strides, pads, auto_pad, dilations, group",
    limits="weights that are computed, 3 spatial axes, auto_pad SAME with dilations",
)
def conv(node: OnnxNode, scope: Scope) -> None:
    """Conv over 1 or 2 spatial dimensions; 1-D data and weights are seen as images of height 1."""
    x = spatial_input(node, scope)
    weight = scope.floats(node, 1)
    bias = scope.floats(node, 2) if node.input(2) else None
    group = node.integer("group", 1)
    if weight.ndim != len(x.shape):
        raise Unsupported(f"its weight has the shape {weight.shape}", f"{len(x.shape)} dimensions")
    outputs, inputs, *kernel = weight.shape
    if group < 1 or inputs * group != x.shape[1] or outputs % group:
        raise Unsupported(
            f"a weight of shape {weight.shape} in {group} groups on {x.shape[1]} channels",
            "channels that divide evenly into the groups",
        )
    if node.integers("kernel_shape", kernel) != tuple(kernel):
        raise Unsupported(
            f"kernel_shape is {node.attrs['kernel_shape']}, its weight has {kernel}", "one kernel"
        )
    if bias is not None and bias.shape != (outputs,):
        raise Unsupported(f"its bias has the shape {bias.shape}", f"({outputs},)")
    over = windows(node, x.shape[2:], kernel, pool=False)
    image = weight.reshape(outputs, inputs, *over.kernel)
    w = scope.parameter(node, 1, image)
    b = scope.parameter(node, 2, bias) if bias is not None else ""
    attrs = {
        "strides": over.strides,
        "pads": over.pads,
        "dilations": over.dilations,
        "group": group,
    }
    emit_on_image(node, scope, "Conv", x, (w, b), attrs)


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    x, w = shapes[0], shapes[1]
    top, left, bottom, right = node.attrs["pads"]
    sizes = []
    for axis, padding in ((0, top + bottom), (1, left + right)):
        reach = (w[2 + axis] - 1) * node.attrs["dilations"][axis] + 1
        sizes.append((x[2 + axis] + padding - reach) // node.attrs["strides"][axis] + 1)
    return (x[0], w[0], *sizes)


def geometry(node: Node, x: ShapeTuple, w: ShapeTuple, y: ShapeTuple) -> Struct:
    """The convolution with `node`'s attributes from maps x to maps y, as the kernels take it."""
    return Struct(
        "conv_shape",
        (
            ("in_channels", x[1]),
            ("in_height", x[2]),
            ("in_width", x[3]),
            ("out_channels", y[1]),
            ("out_height", y[2]),
            ("out_width", y[3]),
            ("kernel_height", w[2]),
            ("kernel_width", w[3]),
            ("stride_height", node.attrs["strides"][0]),
            ("stride_width", node.attrs["strides"][1]),
            ("pad_top", node.attrs["pads"][0]),
            ("pad_left", node.attrs["pads"][1]),
            ("dilation_height", node.attrs["dilations"][0]),
            ("dilation_width", node.attrs["dilations"][1]),
            ("groups", node.attrs["group"]),
        ),
    )


def _macs(y: ShapeTuple, w: ShapeTuple) -> int:
    return prod(y) * prod(w[1:])


def _forward_call(node: Node, graph: Graph) -> Call:
    x, w, b = node.inputs
    (y,) = node.outputs
    shape = geometry(node, graph.shape(x), graph.shape(w), graph.shape(y))
    return Call("conv_f32", (shape, Ref(x), Ref(w), Ref(b), Ref(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    x, w, b = node.inputs
    if backward.wants(x):
        backward.add(x, backward.emit("ConvInputGradient", node, (gy, w), like=x))
    if backward.wants(w):
        backward.learn("ConvWeightGradient", node, w, (gy, x))
    if b and backward.wants(b):
        backward.learn("ConvBiasGradient", node, b, (gy,))


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    gy, w = node.inputs
    (gx,) = node.outputs
    shape = geometry(node, graph.shape(gx), graph.shape(w), graph.shape(gy))
    return Call("conv_input_gradient_f32", (shape, Ref(gy), Ref(w), Ref(gx)))


def _weight_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x, w = node.inputs[:3]
    shape = geometry(node, graph.shape(x), graph.shape(w), graph.shape(gy))
    return Call("conv_weight_gradient_f32", (shape, Ref(gy), Ref(x), Learner(w)))


def _bias_gradient_call(node: Node, graph: Graph) -> Call:
    gy, b = node.inputs[:2]
    channels = graph.shape(gy)[1]
    positions = prod(graph.shape(gy)[2:])
    return Call("conv_bias_gradient_f32", (channels, positions, Ref(gy), Learner(b)))


register(
    Operator(
        "Conv",
        shape=_shape,
        macs=lambda n, g: _macs(g.shape(n.outputs[0]), g.shape(n.inputs[1])),
        call=_forward_call,
        kernel="conv_f32.h",
        gradient=_gradient,
        layer=Layer(weights=(1,), biases=(2,), channel_axis=1),
        learns=channels_learn,
    )
)
register(
    Operator(
        "ConvInputGradient",
        macs=lambda n, g: _macs(g.shape(n.inputs[0]), g.shape(n.inputs[1])),
        call=_input_gradient_call,
        kernel="conv_f32.h",
    )
)
register(
    Operator(
        "ConvWeightGradient",
        macs=lambda n, g: _macs(g.shape(n.inputs[0]), g.shape(n.inputs[2])),
        call=_weight_gradient_call,
        kernel="conv_gradient_f32.h",
    )
)
register(
    Operator(
        "ConvBiasGradient",
        macs=lambda n, g: prod(g.shape(n.inputs[0])),
        call=_bias_gradient_call,
        kernel="conv_gradient_f32.h",
    )
)
