"""Reductions over any axes: each element of y is made of a group of elements of x.

    ReduceSum        y = sum x            gx = gy
    ReduceMean       y = sum x / n        gx = gy / n
    ReduceMax, Min   y = max x, min x     gx = gy / (how many equal y) where x = y, else 0
    ReduceL1         y = sum |x|          gx = gy * sign x
    ReduceL2         y = sqrt(sum x^2)    gx = gy * x / y, 0 where y = 0
    ReduceSumSquare  y = sum x^2          gx = 2 * x * gy

Equal maxima share the gradient evenly, as with PyTorch's amax. GlobalAveragePool is ReduceMean over
the spatial axes. Attributes: axes (from the front), keepdims.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from tinyodl.ops.shared.strides import check_axes, merged_axes, three, whole

# Operators that leave a group of one element as it is.
_SELECTING = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
_COVERS = "any axes, as attribute or input; keepdims, noop_with_empty_axes"
_LIMITS = "axes that are computed; more than 6 dimensions larger than 1"


@imports("ReduceSum", becomes=("ReduceSum", "Reshape"), covers=_COVERS, limits=_LIMITS)
def reduce_sum(node: OnnxNode, scope: Scope) -> None:
    """ReduceSum, whose axes are an input since opset 13."""
    _reduce(node, scope, since_input=13)


@imports("ReduceMean", becomes=("ReduceMean", "Reshape"), covers=_COVERS, limits=_LIMITS)
@imports("ReduceMax", becomes=("ReduceMax", "Reshape"), covers=_COVERS, limits=_LIMITS)
@imports("ReduceMin", becomes=("ReduceMin", "Reshape"), covers=_COVERS, limits=_LIMITS)
@imports("ReduceL1", becomes=("ReduceL1",), covers=_COVERS, limits=_LIMITS)
@imports("ReduceL2", becomes=("ReduceL2",), covers=_COVERS, limits=_LIMITS)
@imports("ReduceSumSquare", becomes=("ReduceSumSquare",), covers=_COVERS, limits=_LIMITS)
def reduce(node: OnnxNode, scope: Scope) -> None:
    """The other reductions, whose axes are an input since opset 18."""
    _reduce(node, scope, since_input=18)


@imports("GlobalAveragePool", becomes=("ReduceMean", "Reshape"), covers="any spatial axes")
def global_average_pool(node: OnnxNode, scope: Scope) -> None:
    """GlobalAveragePool: the mean over all axes but the first two."""
    x = scope.activation(node, 0)
    if len(x.shape) < 3:
        raise Unsupported(f"its input has the shape {x.shape}", "at least one spatial axis")
    _emit("ReduceMean", node, scope, tuple(range(2, len(x.shape))), keepdims=True)


def _reduce(node: OnnxNode, scope: Scope, since_input: int) -> None:
    x = scope.activation(node, 0)
    axes = scope.axes(node, len(x.shape), since_input)
    if axes is None:
        nothing = node.integer("noop_with_empty_axes", 0) != 0
        axes = () if nothing else tuple(range(len(x.shape)))
    _emit(node.op, node, scope, tuple(sorted(axes)), node.integer("keepdims", 1) != 0)


def _emit(op: str, node: OnnxNode, scope: Scope, axes: tuple[int, ...], keepdims: bool) -> None:
    x = scope.activation(node, 0)
    if op in _SELECTING and all(x.shape[axis] == 1 for axis in axes):
        scope.reshape(node.name, x.name, _reduced(x.shape, axes, keepdims), node.outputs[0])
        return
    check_axes(x.shape)
    attrs = {"axes": axes, "keepdims": keepdims}
    scope.emit(op, node.name, (x.name,), node.outputs[0], attrs)


def _reduced(x: ShapeTuple, axes: Sequence[int], keepdims: bool) -> ShapeTuple:
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(x))
    return tuple(size for axis, size in enumerate(x) if axis not in axes)


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return _reduced(shapes[0], node.attrs["axes"], node.attrs["keepdims"])


def _geometry(node: Node, x: ShapeTuple) -> Struct:
    """Groups and members as blocks of up to three axes each; see `strides.h`."""
    sizes = list(zip(x, whole(x).strides, strict=True))
    kept, reduced = (
        merged_axes(tuple(sizes[axis][0] for axis in axes), tuple(sizes[axis][1] for axis in axes))
        for axes in (
            [axis for axis in range(len(x)) if axis not in node.attrs["axes"]],
            node.attrs["axes"],
        )
    )
    return Struct(
        "reduce_shape",
        (
            ("kept", three(kept, 0)),
            ("kept_stride", three(kept, 1)),
            ("reduced", three(reduced, 0)),
            ("reduced_stride", three(reduced, 1)),
        ),
    )


def _divisor(node: Node, x: ShapeTuple) -> tuple[float, ...]:
    """The divisor of a sum, an argument of the kernels of ReduceSum and ReduceMean only."""
    op = node.op.removesuffix("Gradient")
    if op == "ReduceMean":
        return (float(prod(x[axis] for axis in node.attrs["axes"])),)
    return (1.0,) if op == "ReduceSum" else ()


# The kernels of each operator and of its gradient, and the gradient's inputs among x and y.
_KERNELS = {
    "ReduceSum": ("reduce_sum_f32", "reduce_sum_gradient_f32", ""),
    "ReduceMean": ("reduce_sum_f32", "reduce_sum_gradient_f32", ""),
    "ReduceMax": ("reduce_max_f32", "reduce_extreme_gradient_f32", "xy"),
    "ReduceMin": ("reduce_min_f32", "reduce_extreme_gradient_f32", "xy"),
    "ReduceL1": ("reduce_l1_f32", "reduce_l1_gradient_f32", "x"),
    "ReduceL2": ("reduce_l2_f32", "reduce_l2_gradient_f32", "xy"),
    "ReduceSumSquare": ("reduce_square_f32", "reduce_square_gradient_f32", "x"),
}


def _call(node: Node, graph: Graph) -> Call:
    (x,), (y,) = node.inputs, node.outputs
    shape = graph.shape(x)
    function = _KERNELS[node.op][0]
    return Call(function, (_geometry(node, shape), *_divisor(node, shape), Ref(x), Ref(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,), (y,) = node.inputs, node.outputs
    read = {"": (), "x": (x,), "xy": (x, y)}[_KERNELS[node.op][2]]
    backward.add(x, backward.emit(f"{node.op}Gradient", node, (gy, *read), like=x))


def _gradient_call(node: Node, graph: Graph) -> Call:
    (gx,) = node.outputs
    shape = graph.shape(gx)
    function = _KERNELS[node.op.removesuffix("Gradient")][1]
    operands = (*map(Ref, node.inputs), Ref(gx))
    return Call(function, (_geometry(node, shape), *_divisor(node, shape), *operands))


for _name in _KERNELS:
    register(Operator(_name, _call, "reduce_f32.h", _shape, no_macs, _gradient))
    register(Operator(f"{_name}Gradient", _gradient_call, "reduce_f32.h"))
