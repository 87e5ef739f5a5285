"""Gather: slices of a tensor along one axis, by indices that are known at compile time.

    y[.., i, ..] = x[.., index[i], ..]        gx[.., index[i], ..] += gy[.., i, ..]

Attributes: axis (from the front), indices (from the front, at least one). Indices at equal distance
are a Slice. In ONNX the indices may have any shape, which takes the place of the axis: a view.
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
from tinyodl.ops.shared.strides import check_axes


@imports(
    "Gather",
    becomes=("Gather", "Slice", "Reshape", "Identity"),
    covers="any axis, constant indices of any shape, negative ones too",
    limits="indices that are computed, data that is constant",
)
def gather(node: OnnxNode, scope: Scope) -> None:
    """Gather with constant indices on a computed tensor."""
    x = scope.activation(node, 0)
    axis = node.axis(0, len(x.shape))
    given = scope.constant(node, 1)
    size = x.shape[axis]
    if given.dtype.kind != "i" or not given.size:
        raise Unsupported(f"its indices are {given.dtype} of shape {given.shape}", "integers")
    if not ((given >= -size) & (given < size)).all():
        raise Unsupported(
            f"its indices go from {given.min()} to {given.max()}", f"{-size} to {size - 1}"
        )
    indices = [int(index) % size for index in given.reshape(-1)]
    if given.ndim == 1:
        gather_along(node, scope, x.name, axis, indices, node.outputs[0])
        return
    taken = scope.fresh(f"{node.outputs[0]}.taken")
    gather_along(node, scope, x.name, axis, indices, taken)
    scope.view(node, taken, (*x.shape[:axis], *given.shape, *x.shape[axis + 1 :]), node.outputs[0])


def gather_along(
    node: OnnxNode, scope: Scope, x: str, axis: int, indices: Sequence[int], output: str
) -> str:
    """Append what takes these indices (from the front) along one axis; returns the output."""
    shape = scope.tensors[x].shape
    name = scope.fresh_node(f"{node.name}.gather") if output != node.outputs[0] else node.name
    first = indices[0]
    step = indices[1] - first if len(indices) > 1 else 1
    if step == 0 or list(indices) != [first + i * step for i in range(len(indices))]:
        attrs: dict[str, object] = {"axis": axis, "indices": tuple(indices)}
        return scope.emit("Gather", name, (x,), output, attrs)
    if step == 1 and len(indices) == shape[axis]:
        return scope.emit("Identity", name, (x,), output)
    check_axes(shape)
    attrs = {
        "starts": tuple(first if i == axis else 0 for i in range(len(shape))),
        "steps": tuple(step if i == axis else 1 for i in range(len(shape))),
        "sizes": (*shape[:axis], len(indices), *shape[axis + 1 :]),
    }
    return scope.emit("Slice", name, (x,), output, attrs)


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    (x,), axis = shapes, node.attrs["axis"]
    return (*x[:axis], len(node.attrs["indices"]), *x[axis + 1 :])


def _geometry(node: Node, x: ShapeTuple) -> Struct:
    axis, indices = node.attrs["axis"], node.attrs["indices"]
    return Struct(
        "gather_shape",
        (
            ("outer", prod(x[:axis])),
            ("in_count", x[axis]),
            ("count", len(indices)),
            ("inner", prod(x[axis + 1 :])),
            ("index", tuple(indices)),
        ),
    )


def _call(node: Node, graph: Graph) -> Call:
    (x,), (y,) = node.inputs, node.outputs
    return Call("gather_f32", (_geometry(node, graph.shape(x)), Ref(x), Ref(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("GatherGradient", node, (gy,), like=x))


def _gradient_call(node: Node, graph: Graph) -> Call:
    (gy,), (gx,) = node.inputs, node.outputs
    return Call("gather_gradient_f32", (_geometry(node, graph.shape(gx)), Ref(gy), Ref(gx)))


register(Operator("Gather", _call, "gather_f32.h", _shape, no_macs, _gradient))
register(Operator("GatherGradient", _gradient_call, "gather_f32.h"))
