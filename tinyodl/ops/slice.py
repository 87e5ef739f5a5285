"""Slice: a block of a tensor, every step-th element along each axis, backwards too.

    y[i] = x[start + i * step]        gx = gy there, 0 elsewhere

Attributes, for each axis: starts (counted from the front), steps, sizes (of y).
"""

from __future__ import annotations

from collections.abc import Sequence

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    OnnxNode,
    Operator,
    Scope,
    ShapeTuple,
    Unsupported,
    from_the_front,
    imports,
    no_macs,
    register,
)
from tinyodl.ops.shared.strides import check_axes, copy_call, fill_call, region, whole


@imports(
    "Slice",
    becomes=("Slice", "Identity"),
    covers="starts, ends, axes, steps, negative ones too",
    limits="starts, ends, axes or steps that are computed; more than 6 dimensions larger than 1",
)
def slice_(node: OnnxNode, scope: Scope) -> None:
    """Slice with constant bounds; it disappears where it takes everything in order."""
    x = scope.activation(node, 0)
    rank = len(x.shape)
    given, axes, steps = _bounds(node, scope)
    if len({len(values) for values in (*given, axes, steps)}) != 1:
        raise Unsupported("starts, ends, axes and steps differ in length", "one of each per axis")
    starts, strides, sizes = [0] * rank, [1] * rank, list(x.shape)
    for axis, first, end, step in zip(from_the_front(axes, rank), *given, steps, strict=True):
        taken = _taken(first, end, step, x.shape[axis])
        starts[axis], strides[axis], sizes[axis] = taken.start, taken.step, len(taken)
    if tuple(sizes) == x.shape and all(
        step == 1 or size == 1 for step, size in zip(strides, sizes, strict=True)
    ):
        scope.emit("Identity", node.name, (x.name,), node.outputs[0])
        return
    check_axes(x.shape)
    attrs = {"starts": tuple(starts), "steps": tuple(strides), "sizes": tuple(sizes)}
    scope.emit("Slice", node.name, (x.name,), node.outputs[0], attrs)


def _bounds(
    node: OnnxNode, scope: Scope
) -> tuple[tuple[Sequence[int], Sequence[int]], Sequence[int], Sequence[int]]:
    """(starts, ends), axes and steps: attributes before opset 10, then inputs."""
    if node.opset < 10:
        starts, ends, axes = (node.attrs.get(name) for name in ("starts", "ends", "axes"))
        given = node.integers("starts", starts or ()), node.integers("ends", ends or ())
        axes = range(len(given[0])) if axes is None else node.integers("axes", axes)
        return given, axes, (1,) * len(given[0])
    given = scope.integers(node, 1), scope.integers(node, 2)
    axes = scope.integers(node, 3) if node.input(3) else range(len(given[0]))
    steps = scope.integers(node, 4) if node.input(4) else (1,) * len(given[0])
    return given, axes, steps


def _taken(start: int, end: int, step: int, size: int) -> range:
    """The indices that ONNX takes: bounds count from the end when negative, then are clamped."""
    if step == 0:
        raise Unsupported("a step is 0", "steps other than 0")
    first, last = (0, size) if step > 0 else (0, size - 1)
    start = min(max(start + size if start < 0 else start, first), last)
    first, last = (0, size) if step > 0 else (-1, size - 1)
    end = min(max(end + size if end < 0 else end, first), last)
    return range(start, end, step)


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return tuple(node.attrs["sizes"])


def _call(node: Node, graph: Graph) -> Call:
    (x,), (y,) = node.inputs, node.outputs
    block = region(graph.shape(x), node.attrs["starts"], node.attrs["steps"])
    return copy_call(graph.shape(y), x, block, y, whole(graph.shape(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("SliceGradient", node, (gy,), like=x))


def _gradient_calls(node: Node, graph: Graph) -> tuple[Call, ...]:
    (gy,), (gx,) = node.inputs, node.outputs
    block = region(graph.shape(gx), node.attrs["starts"], node.attrs["steps"])
    copy = copy_call(graph.shape(gy), gy, whole(graph.shape(gy)), gx, block)
    if graph.tensor(gy).size == graph.tensor(gx).size:
        return (copy,)
    return (fill_call(graph.tensor(gx).size, 0.0, gx), copy)


register(Operator("Slice", _call, "copy_f32.h", _shape, no_macs, _gradient))
register(Operator("SliceGradient", _gradient_calls, "copy_f32.h"))
