"""Concat and Split along any axis.

    Concat   y = x1, x2, ... side by side        gx[i] = its part of gy
    Split    y[i] = the parts of x in order      gx = gy1, gy2, ... side by side

Attributes: axis (from the front); Split: sizes (of each part). An output of Split that nothing
depends on adds zeros to the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    OnnxNode,
    Operator,
    Scope,
    ShapeTuple,
    Unsupported,
    imports,
    no_macs,
    register,
)
from tinyodl.ops.shared.strides import check_axes, copy_call, fill_call, region, whole


@imports(
    "Concat",
    becomes=("Concat", "Identity"),
    covers="any axis, any number of inputs, some of them may be constant",
    limits="more than 6 dimensions larger than 1",
)
def concat(node: OnnxNode, scope: Scope) -> None:
    """Concat of computed tensors and float32 constants."""
    parts = [scope.operand(node, slot) for slot in range(len(node.inputs))]
    first = parts[0].shape
    axis = node.axis(0, len(first))
    for part in parts:
        if (*part.shape[:axis], *part.shape[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]):
            raise Unsupported(
                f"it joins the shapes {first} and {part.shape} on axis {axis}",
                "shapes that differ on that axis only",
            )
    check_axes(first)
    names = [part.name for part in parts]
    if len(parts) == 1:
        scope.emit("Identity", node.name, names, node.outputs[0])
        return
    scope.emit("Concat", node.name, names, node.outputs[0], {"axis": axis})


@imports(
    "Split",
    becomes=("Split", "Identity"),
    covers="any axis, sizes as attribute or input, equal parts, num_outputs",
    limits="sizes that are computed; more than 6 dimensions larger than 1",
)
def split(node: OnnxNode, scope: Scope) -> None:
    """Split into given or equal parts; with `num_outputs` the last one may be smaller."""
    x = scope.activation(node, 0)
    axis = node.axis(0, len(x.shape))
    sizes = _sizes(node, scope, x.shape[axis])
    if len(sizes) != len(node.outputs) or sum(sizes) != x.shape[axis] or min(sizes) < 1:
        raise Unsupported(
            f"{len(node.outputs)} parts of the sizes {list(sizes)} from {x.shape[axis]}",
            "a size of at least 1 for each output, all of the axis together",
        )
    check_axes(x.shape)
    if len(sizes) == 1:
        scope.emit("Identity", node.name, (x.name,), node.outputs[0])
        return
    attrs = {"axis": axis, "sizes": tuple(sizes)}
    scope.emit_several("Split", node.name, (x.name,), node.outputs, attrs)


def _sizes(node: OnnxNode, scope: Scope, whole_size: int) -> Sequence[int]:
    """`split` is an attribute before opset 13; without it the parts are equal, rounded up."""
    if node.opset < 13 and "split" in node.attrs:
        return node.integers("split", node.attrs["split"])
    if node.opset >= 13 and node.input(1):
        return scope.integers(node, 1)
    parts = len(node.outputs)
    if node.integer("num_outputs", parts) != parts:
        raise Unsupported(f"num_outputs is {node.attrs['num_outputs']}", f"{parts}, as outputs")
    if node.opset < 18 and whole_size % parts:
        raise Unsupported(f"it splits {whole_size} into {parts} equal parts", "equal parts")
    part = -(-whole_size // parts)
    return (*((part,) * (parts - 1)), whole_size - part * (parts - 1))


def _concat_shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    axis = node.attrs["axis"]
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _concat_calls(node: Node, graph: Graph) -> tuple[Call, ...]:
    return _join(node.inputs, [graph.shape(x) for x in node.inputs], node, graph)


def _concat_gradient(backward: Backward, node: Node, gy: str) -> None:
    shapes = [backward.graph.shape(x) for x in node.inputs]
    for x, starts in zip(node.inputs, _starts(node, shapes), strict=True):
        if backward.wants(x):
            sizes = backward.graph.shape(x)
            attrs = {"starts": starts, "steps": (1,) * len(starts), "sizes": sizes}
            backward.add(x, backward.emit("Slice", node, (gy,), like=x, attrs=attrs))


def _split_shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> tuple[ShapeTuple, ...]:
    (x,), axis = shapes, node.attrs["axis"]
    return tuple((*x[:axis], size, *x[axis + 1 :]) for size in node.attrs["sizes"])


def _split_calls(node: Node, graph: Graph) -> tuple[Call, ...]:
    (x,) = node.inputs
    shapes = [graph.shape(y) for y in node.outputs]
    return tuple(
        copy_call(shape, x, region(graph.shape(x), starts), y, whole(shape))
        for y, shape, starts in zip(node.outputs, shapes, _starts(node, shapes), strict=True)
    )


def _split_gradient(backward: Backward, node: Node, *gradients: str | None) -> None:
    (x,) = node.inputs
    given = tuple(gy or "" for gy in gradients)
    backward.add(x, backward.emit("SplitGradient", node, given, like=x))


def _split_gradient_calls(node: Node, graph: Graph) -> tuple[Call, ...]:
    (gx,) = node.outputs
    shapes = _split_shape(node, (graph.shape(gx),))
    copies = _join(node.inputs, shapes, node, graph)
    if all(node.inputs):
        return copies
    return (fill_call(graph.tensor(gx).size, 0.0, gx), *copies)


def _join(
    parts: Sequence[str], shapes: Sequence[ShapeTuple], node: Node, graph: Graph
) -> tuple[Call, ...]:
    """Copy the parts into the output, side by side; one named "" is left out."""
    (y,) = node.outputs
    return tuple(
        copy_call(shape, part, whole(shape), y, region(graph.shape(y), starts))
        for part, shape, starts in zip(parts, shapes, _starts(node, shapes), strict=True)
        if part
    )


def _starts(node: Node, shapes: Sequence[ShapeTuple]) -> list[ShapeTuple]:
    """Where each part begins in the whole."""
    axis, rank = node.attrs["axis"], len(shapes[0])
    ends = accumulate(shape[axis] for shape in shapes)
    begins = (end - shape[axis] for end, shape in zip(ends, shapes, strict=True))
    return [tuple(begin if i == axis else 0 for i in range(rank)) for begin in begins]


_KERNEL = "copy_f32.h"
register(Operator("Concat", _concat_calls, _KERNEL, _concat_shape, no_macs, _concat_gradient))
register(Operator("Split", _split_calls, _KERNEL, _split_shape, no_macs, _split_gradient))
register(Operator("SplitGradient", _split_gradient_calls, _KERNEL))
