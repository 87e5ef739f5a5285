"""Reshape: the same bytes seen with another shape. It costs nothing and calls no kernel.

The output has the shape of its tensor; the frontend works it out.
Flatten, Squeeze, Unsqueeze and Reshape of ONNX all become this.
Attributes: shape (the whole output shape).
"""

from __future__ import annotations

from math import prod

from tinyodl.graph import Node
from tinyodl.ops.shared import (
    Backward,
    OnnxNode,
    Operator,
    Scope,
    ShapeTuple,
    Unsupported,
    imports,
    no_macs,
    register,
)


@imports("Flatten", becomes=("Reshape",), covers="axis")
def flatten(node: OnnxNode, scope: Scope) -> None:
    """Flatten: a view with two dimensions."""
    x = scope.activation(node, 0)
    axis = node.integer("axis", 1)
    if not -len(x.shape) <= axis <= len(x.shape):
        raise Unsupported(f"axis is {axis} for {x.shape}", "an axis of its input")
    axis = axis + len(x.shape) if axis < 0 else axis
    shape = (prod(x.shape[:axis]), prod(x.shape[axis:]))
    scope.reshape(node.name, x.name, shape, node.outputs[0])


@imports(
    "Reshape",
    becomes=("Reshape",),
    covers="a shape with 0 and -1, allowzero",
    limits="a shape that is computed",
)
def reshape(node: OnnxNode, scope: Scope) -> None:
    """Reshape to a constant shape: a view."""
    x = scope.activation(node, 0)
    target = [int(size) for size in scope.constant(node, 1).reshape(-1)]
    if not node.integer("allowzero", 0):
        if 0 in target[len(x.shape) :]:
            raise Unsupported(f"it copies a dimension that {x.shape} does not have", "a shape")
        target = [size or x.shape[axis] for axis, size in enumerate(target[: len(x.shape)])] + (
            target[len(x.shape) :]
        )
    if target.count(-1) == 1:
        rest = prod(size for size in target if size != -1)
        if rest > 0 and x.size % rest == 0:
            target[target.index(-1)] = x.size // rest
    scope.reshape(node.name, x.name, target, node.outputs[0])


@imports("Squeeze", becomes=("Reshape",), covers="axes as attribute, input, or absent")
def squeeze(node: OnnxNode, scope: Scope) -> None:
    """Squeeze: a view without some dimensions of size 1."""
    x = scope.activation(node, 0)
    axes = scope.axes(node, len(x.shape), since_input=13)
    if axes is None:
        axes = tuple(axis for axis, size in enumerate(x.shape) if size == 1)
    if any(x.shape[axis] != 1 for axis in axes):
        raise Unsupported(f"it squeezes the axes {sorted(axes)} of {x.shape}", "sizes of 1")
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    scope.reshape(node.name, x.name, shape, node.outputs[0])


@imports("Unsqueeze", becomes=("Reshape",), covers="axes as attribute or input")
def unsqueeze(node: OnnxNode, scope: Scope) -> None:
    """Unsqueeze: a view with more dimensions of size 1."""
    x = scope.activation(node, 0)
    count = len(scope.written_axes(node, since_input=13) or ())
    axes = scope.axes(node, len(x.shape) + count, since_input=13) or ()
    sizes = iter(x.shape)
    shape = tuple(1 if axis in axes else next(sizes) for axis in range(len(x.shape) + count))
    scope.reshape(node.name, x.name, shape, node.outputs[0])


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return tuple(node.attrs["shape"])


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    attrs = {"shape": backward.graph.shape(x)}
    backward.add(x, backward.emit("Reshape", node, (gy,), like=x, attrs=attrs))


register(Operator("Reshape", None, None, _shape, no_macs, _gradient))
