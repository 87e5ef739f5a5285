"""MaxPool, AveragePool and GlobalAveragePool over the two spatial axes.

    MaxPool            y[c, p] = max over the window of x[c]; the gradient goes to the first maximum
    AveragePool        y[c, p] = mean over the window; padding counts if count_include_pad
    GlobalAveragePool  y[c] = mean over space

Attributes: kernel (2), strides (2), pads (top, left, bottom, right), dilations (2, MaxPool),
count_include_pad (AveragePool). The input (1, C, H, W) is kept for MaxPool's backward pass, which
looks for the maxima again instead of storing where they were.
"""

from __future__ import annotations

from math import prod

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
    x = spatial_input(node, scope)
    if scope.uses_output(node, 1):
        raise Unsupported("its indices are used", "its first output only")
    over = windows(node, x.shape[2:], _kernel(node, len(x.shape) - 2), pool=True)
    attrs = {
        "kernel": over.kernel,
        "strides": over.strides,
        "pads": over.pads,
        "dilations": over.dilations,
    }
    emit_on_image(node, scope, "MaxPool", x, attrs=dict(attrs))


@imports(
    "AveragePool",
    becomes=("AveragePool", "Reshape"),
    covers="1 or 2 axes; kernel_shape, strides, pads, auto_pad, ceil_mode, count_include_pad",
    limits="dilations; ceil_mode beyond counted padding; windows of padding alone; "
    "pads as large as the kernel",
)
def average_pool(node: OnnxNode, scope: Scope) -> None:
    """AveragePool over 1 or 2 spatial dimensions."""
    x = spatial_input(node, scope)
    over = windows(node, x.shape[2:], _kernel(node, len(x.shape) - 2), pool=True)
    if over.dilations != (1, 1):
        raise Unsupported(f"dilations are {node.attrs['dilations']}", "1")
    attrs = {
        "kernel": over.kernel,
        "strides": over.strides,
        "pads": over.pads,
        "count_include_pad": int(any(over.pads) and node.integer("count_include_pad", 0) != 0),
    }
    emit_on_image(node, scope, "AveragePool", x, attrs=dict(attrs))


def _kernel(node: OnnxNode, rank: int) -> tuple[int, ...]:
    if "kernel_shape" not in node.attrs:
        raise Unsupported("it has no kernel_shape", "a kernel_shape")
    return node.integers("kernel_shape", (1,) * rank)


@imports(
    "GlobalAveragePool",
    becomes=("GlobalAveragePool", "Reshape"),
    covers="1 or 2 spatial axes",
)
def global_average_pool(node: OnnxNode, scope: Scope) -> None:
    """GlobalAveragePool over 1 or 2 spatial dimensions."""
    emit_on_image(node, scope, "GlobalAveragePool", spatial_input(node, scope))


@imports(
    "ReduceMean",
    becomes=("GlobalAveragePool", "Reshape", "Identity"),
    covers="keepdims, noop_with_empty_axes, axes as attribute or input",
    limits="axes that are not exactly the spatial ones",
)
def reduce_mean(node: OnnxNode, scope: Scope) -> None:
    """ReduceMean over exactly the spatial axes: GlobalAveragePool and a view.

    Axes of size 1 may be named or not, they change nothing.
    """
    x = scope.activation(node, 0)
    rank = len(x.shape)
    axes = scope.axes(node, rank, since_input=18)
    if axes is None:
        if node.integer("noop_with_empty_axes", 0):
            scope.emit("Identity", node.name, (x.name,), node.outputs[0])
            return
        axes = tuple(range(rank))
    reduced = {axis for axis in axes if x.shape[axis] > 1}
    spatial = {axis for axis in range(2, rank) if x.shape[axis] > 1}
    if rank not in (3, 4) or x.shape[0] != 1 or reduced != spatial:
        raise Unsupported(
            f"it reduces the axes {sorted(axes)} of {x.shape}", "the spatial axes of (1, C, H, W)"
        )
    if node.integer("keepdims", 1):
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    else:
        shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    image = scope.view(node, x.name, (*x.shape[:2], *((1,) * (4 - rank)), *x.shape[2:]))
    mean = scope.fresh(f"{node.outputs[0]}.mean")
    scope.emit("GlobalAveragePool", node.name, (image,), mean)
    scope.view(node, mean, shape, node.outputs[0])


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    x = shapes[0]
    top, left, bottom, right = node.attrs["pads"]
    sizes = []
    for axis, padding in ((0, top + bottom), (1, left + right)):
        reach = (node.attrs["kernel"][axis] - 1) * _dilations(node)[axis] + 1
        sizes.append((x[2 + axis] + padding - reach) // node.attrs["strides"][axis] + 1)
    return (x[0], x[1], *sizes)


def _dilations(node: Node) -> tuple[int, int]:
    dilations = node.attrs.get("dilations", (1, 1))
    return (dilations[0], dilations[1])


def _geometry(node: Node, x: ShapeTuple, y: ShapeTuple) -> Struct:
    return Struct(
        "pool_shape",
        (
            ("channels", x[1]),
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
            ("dilation_height", _dilations(node)[0]),
            ("dilation_width", _dilations(node)[1]),
            ("count_include_pad", int(node.attrs.get("count_include_pad", 0))),
        ),
    )


def _max_call(node: Node, graph: Graph) -> Call:
    x, y = node.inputs[0], node.outputs[0]
    geometry = _geometry(node, graph.shape(x), graph.shape(y))
    return Call("max_pool_f32", (geometry, Ref(x), Ref(y)))


def _max_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("MaxPoolGradient", node, (gy, x), like=x))


def _max_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x = node.inputs
    gx = node.outputs[0]
    geometry = _geometry(node, graph.shape(x), graph.shape(gy))
    return Call("max_pool_gradient_f32", (geometry, Ref(gy), Ref(x), Ref(gx)))


def _average_call(node: Node, graph: Graph) -> Call:
    x, y = node.inputs[0], node.outputs[0]
    geometry = _geometry(node, graph.shape(x), graph.shape(y))
    return Call("average_pool_f32", (geometry, Ref(x), Ref(y)))


def _average_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("AveragePoolGradient", node, (gy,), like=x))


def _average_gradient_call(node: Node, graph: Graph) -> Call:
    gy, gx = node.inputs[0], node.outputs[0]
    geometry = _geometry(node, graph.shape(gx), graph.shape(gy))
    return Call("average_pool_gradient_f32", (geometry, Ref(gy), Ref(gx)))


def _global_shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return (*shapes[0][:2], 1, 1)


def _global_call(node: Node, graph: Graph) -> Call:
    x, y = node.inputs[0], node.outputs[0]
    channels, positions = graph.shape(x)[1], prod(graph.shape(x)[2:])
    return Call("global_average_pool_f32", (channels, positions, Ref(x), Ref(y)))


def _global_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("GlobalAveragePoolGradient", node, (gy,), like=x))


def _global_gradient_call(node: Node, graph: Graph) -> Call:
    gy, gx = node.inputs[0], node.outputs[0]
    channels, positions = graph.shape(gx)[1], prod(graph.shape(gx)[2:])
    return Call("global_average_pool_gradient_f32", (channels, positions, Ref(gy), Ref(gx)))


_KERNEL = "pool_f32.h"
register(Operator("MaxPool", _max_call, _KERNEL, _shape, no_macs, _max_gradient))
register(Operator("MaxPoolGradient", _max_gradient_call, _KERNEL))
register(Operator("AveragePool", _average_call, _KERNEL, _shape, no_macs, _average_gradient))
register(Operator("AveragePoolGradient", _average_gradient_call, _KERNEL))
register(
    Operator("GlobalAveragePool", _global_call, _KERNEL, _global_shape, no_macs, _global_gradient)
)
register(Operator("GlobalAveragePoolGradient", _global_gradient_call, _KERNEL))
