"""MaxPool and AveragePool over the two spatial axes.

    MaxPool      y[c, p] = max over the window of x[c]; the gradient goes to the first maximum
    AveragePool  y[c, p] = mean over the window; padding counts if count_include_pad

Attributes: kernel (2), strides (2), pads (top, left, bottom, right), dilations (2); AveragePool:
count_include_pad, and beyond (bottom, right), how far the last windows reach past the padding. What
lies there never counts. The input (N, C, H, W) is kept for MaxPool's backward pass, which looks for
the maxima again instead of storing where they were. GlobalMaxPool is one window over everything.
"""

from __future__ import annotations

from dataclasses import replace

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    ShapeTuple,
    Struct,
    Unsupported,
    imports,
    no_macs,
    register,
)
from tinyodl.ops.shared.windows import emit_on_image, spatial_input, windows


@imports(
    "MaxPool",
    becomes=("MaxPool", "Reshape"),
    covers="1 or 2 axes; kernel_shape, strides, pads, auto_pad, ceil_mode, dilations",
    limits="the second output; windows of padding alone, pads as large as the kernel",
)
def max_pool(node: OnnxNode, scope: Scope) -> None:
    """MaxPool over 1 or 2 spatial dimensions."""
    x = spatial_input(node, scope, any_batch=True)
    if scope.uses_output(node, 1):
        raise Unsupported("its indices are used", "its first output only")
    over = windows(node, x.shape[2:], _kernel(node, len(x.shape) - 2), pool=True)
    top, left, bottom, right = over.pads  # a maximum ignores padding, so there may be more of it
    attrs = {
        "kernel": over.kernel,
        "strides": over.strides,
        "pads": (top, left, bottom + over.beyond[0], right + over.beyond[1]),
        "dilations": over.dilations,
    }
    emit_on_image(node, scope, "MaxPool", x, attrs=dict(attrs))


@imports("GlobalMaxPool", becomes=("MaxPool", "Reshape"), covers="1 or 2 spatial axes")
def global_max_pool(node: OnnxNode, scope: Scope) -> None:
    """GlobalMaxPool: one window over all of 1 or 2 spatial dimensions."""
    x = spatial_input(node, scope, any_batch=True)
    height, width = (1, *x.shape[2:])[-2:]
    attrs = {
        "kernel": (height, width),
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
    }
    emit_on_image(node, scope, "MaxPool", x, attrs=dict(attrs))


@imports(
    "AveragePool",
    becomes=("AveragePool", "Reshape"),
    covers="1 or 2 axes; kernel_shape, strides, pads, auto_pad, ceil_mode, count_include_pad, "
    "dilations",
    limits="windows of padding alone, pads as large as the kernel",
)
def average_pool(node: OnnxNode, scope: Scope) -> None:
    """AveragePool over 1 or 2 spatial dimensions."""
    x = spatial_input(node, scope, any_batch=True)
    over = windows(node, x.shape[2:], _kernel(node, len(x.shape) - 2), pool=True)
    counts = node.integer("count_include_pad", 0) != 0
    if counts and node.attrs.get("whole_kernel"):
        top, left, bottom, right = over.pads
        reaching = (top, left, bottom + over.beyond[0], right + over.beyond[1])
        over = replace(over, pads=reaching, beyond=(0, 0))
    attrs = {
        "kernel": over.kernel,
        "strides": over.strides,
        "pads": over.pads,
        "dilations": over.dilations,
        "beyond": over.beyond,
        "count_include_pad": int(any(over.pads) and counts),
    }
    emit_on_image(node, scope, "AveragePool", x, attrs=dict(attrs))


def _kernel(node: OnnxNode, rank: int) -> tuple[int, ...]:
    if "kernel_shape" not in node.attrs:
        raise Unsupported("it has no kernel_shape", "a kernel_shape")
    return node.integers("kernel_shape", (1,) * rank)


def pooled_shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    """The shape of what a pool makes of its first input."""
    x = shapes[0]
    top, left, bottom, right = node.attrs["pads"]
    beyond = node.attrs.get("beyond", (0, 0))
    sizes = []
    for axis, padding in ((0, top + bottom), (1, left + right)):
        reach = (node.attrs["kernel"][axis] - 1) * node.attrs["dilations"][axis] + 1
        room = x[2 + axis] + padding + beyond[axis] - reach
        sizes.append(room // node.attrs["strides"][axis] + 1)
    return (x[0], x[1], *sizes)


def geometry(node: Node, x: ShapeTuple, y: ShapeTuple) -> Struct:
    """The constants of a pool from `x` to `y`."""
    return Struct(
        "pool_shape",
        (
            ("channels", x[0] * x[1]),
            ("in_height", x[2]),
            ("in_width", x[3]),
            ("out_height", y[2]),
            ("out_width", y[3]),
            ("kernel_height", node.attrs["kernel"][0]),
            ("kernel_width", node.attrs["kernel"][1]),
            ("stride_height", node.attrs["strides"][0]),
            ("stride_width", node.attrs["strides"][1]),
            ("pad_top", node.attrs["pads"][0]),
            ("pad_left", node.attrs["pads"][1]),
            ("pad_bottom", node.attrs["pads"][2]),
            ("pad_right", node.attrs["pads"][3]),
            ("dilation_height", node.attrs["dilations"][0]),
            ("dilation_width", node.attrs["dilations"][1]),
            ("count_include_pad", int(node.attrs.get("count_include_pad", 0))),
        ),
    )


def _max_call(node: Node, graph: Graph) -> Call:
    x, y = node.inputs[0], node.outputs[0]
    over = geometry(node, graph.shape(x), graph.shape(y))
    return Call("max_pool_f32", (over, Ref(x), Ref(y)))


def _max_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("MaxPoolGradient", node, (gy, x), like=x))


def _max_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x = node.inputs
    gx = node.outputs[0]
    over = geometry(node, graph.shape(x), graph.shape(gy))
    return Call("max_pool_gradient_f32", (over, Ref(gy), Ref(x), Ref(gx)))


def _average_call(node: Node, graph: Graph) -> Call:
    x, y = node.inputs[0], node.outputs[0]
    over = geometry(node, graph.shape(x), graph.shape(y))
    return Call("average_pool_f32", (over, Ref(x), Ref(y)))


def _average_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("AveragePoolGradient", node, (gy,), like=x))


def _average_gradient_call(node: Node, graph: Graph) -> Call:
    gy, gx = node.inputs[0], node.outputs[0]
    over = geometry(node, graph.shape(gx), graph.shape(gy))
    return Call("average_pool_gradient_f32", (over, Ref(gy), Ref(gx)))


_KERNEL = "pool_f32.h"
register(Operator("MaxPool", _max_call, _KERNEL, pooled_shape, no_macs, _max_gradient))
register(Operator("MaxPoolGradient", _max_gradient_call, _KERNEL))
register(Operator("AveragePool", _average_call, _KERNEL, pooled_shape, no_macs, _average_gradient))
register(Operator("AveragePoolGradient", _average_gradient_call, _KERNEL))
