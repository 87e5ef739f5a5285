"""Transpose: any order of the axes; and what is one between two views.

    y[i[perm[0]], i[perm[1]], ...] = x[i[0], i[1], ...]

Attributes: perm (axis of x for each axis of y). Where only axes of size 1 move it becomes a view.
DepthToSpace and SpaceToDepth move blocks of size b between channels and space.
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
    imports,
    no_macs,
    register,
)
from tinyodl.ops.shared.strides import Strided, check_axes, copy_call, whole


@imports(
    "Transpose",
    becomes=("Transpose", "Reshape"),
    covers="any permutation",
    limits="more than 6 dimensions larger than 1",
)
def transpose(node: OnnxNode, scope: Scope) -> None:
    """Transpose with any permutation; without `perm` the axes are reversed."""
    x = scope.activation(node, 0)
    rank = len(x.shape)
    perm = node.integers("perm", tuple(reversed(range(rank))))
    if sorted(perm) != list(range(rank)):
        raise Unsupported(f"perm is {list(perm)} for {rank} dimensions", "each axis once")
    _transpose(node, scope, x.name, perm, node.outputs[0])


@imports(
    "DepthToSpace",
    becomes=("Transpose", "Reshape"),
    covers="blocksize, mode DCR and CRD",
)
def depth_to_space(node: OnnxNode, scope: Scope) -> None:
    """DepthToSpace: channels become blocks of b * b positions."""
    x = scope.activation(node, 0)
    b, mode = node.integer("blocksize", 0), node.attrs.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Unsupported(f"mode is {mode!r}", "DCR and CRD")
    if len(x.shape) != 4 or b < 1 or x.shape[1] % (b * b):
        raise Unsupported(f"blocks of {b} from {x.shape}", "(N, C * b * b, H, W)")
    n, depth, height, width = x.shape
    c = depth // (b * b)
    if mode == "DCR":
        seen, perm = (n, b, b, c, height, width), (0, 3, 4, 1, 5, 2)
    else:
        seen, perm = (n, c, b, b, height, width), (0, 1, 4, 2, 5, 3)
    _between_views(node, scope, seen, perm, (n, c, height * b, width * b))


@imports(
    "SpaceToDepth",
    becomes=("Transpose", "Reshape"),
    covers="blocksize, mode DCR and, since opset 28, CRD",
)
def space_to_depth(node: OnnxNode, scope: Scope) -> None:
    """SpaceToDepth: blocks of b * b positions become channels, before or behind the others."""
    x = scope.activation(node, 0)
    b = node.integer("blocksize", 0)
    mode = node.attrs.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Unsupported(f"mode is {mode!r}", "DCR and CRD")
    if len(x.shape) != 4 or b < 1 or x.shape[2] % b or x.shape[3] % b:
        raise Unsupported(f"blocks of {b} from {x.shape}", "(N, C, H * b, W * b)")
    n, c, height, width = x.shape
    seen = (n, c, height // b, b, width // b, b)
    perm = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    _between_views(node, scope, seen, perm, (n, b * b * c, height // b, width // b))


def _between_views(
    node: OnnxNode, scope: Scope, seen: ShapeTuple, perm: Sequence[int], shape: ShapeTuple
) -> None:
    x = scope.view(node, node.inputs[0], seen)
    moved = _transpose(node, scope, x, perm, scope.fresh(f"{node.outputs[0]}.moved"))
    scope.view(node, moved, shape, node.outputs[0])


def _transpose(node: OnnxNode, scope: Scope, x: str, perm: Sequence[int], output: str) -> str:
    shape = scope.tensors[x].shape
    moving = [axis for axis in perm if shape[axis] > 1]
    if moving == sorted(moving):
        return scope.reshape(node.name, x, [shape[axis] for axis in perm], output)
    check_axes(shape)
    return scope.emit("Transpose", node.name, (x,), output, {"perm": tuple(perm)})


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return tuple(shapes[0][axis] for axis in node.attrs["perm"])


def _call(node: Node, graph: Graph) -> Call:
    (x,), (y,) = node.inputs, node.outputs
    strides = whole(graph.shape(x)).strides
    moved = Strided(0, tuple(strides[axis] for axis in node.attrs["perm"]))
    return copy_call(graph.shape(y), x, moved, y, whole(graph.shape(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,), perm = node.inputs, node.attrs["perm"]
    back = tuple(perm.index(axis) for axis in range(len(perm)))
    backward.add(x, backward.emit("Transpose", node, (gy,), like=x, attrs={"perm": back}))


register(Operator("Transpose", _call, "copy_f32.h", _shape, no_macs, _gradient))
