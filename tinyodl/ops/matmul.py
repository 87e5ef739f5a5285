"""MatMul: the matrix product of numpy, batched and broadcast, of two operands in any order.

    y[..., i, j] = alpha * sum over k of a[..., i, k] * b[..., k, j]

Inputs: a (..., I, K), or (..., K, I) with trans_a; b (..., K, J), or (..., J, K) with trans_b. The
axes before broadcast. Attributes: alpha, trans_a, trans_b. A matrix on the right that is constant
becomes a `Gemm`, a dense layer on each row; any other constant operand learns here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

_BLOCKS = 3  # axes of `contraction` before the matrices
_AXES = f"at most {_BLOCKS} groups of axes that broadcast alike"


@imports(
    "MatMul",
    becomes=("Gemm", "MatMul", "Reshape"),
    covers="1-D, 2-D and batched operands with broadcasting, each constant or computed",
    limits=f"batches that broadcast in turns: {_AXES}",
)
def matmul(node: OnnxNode, scope: Scope) -> None:
    """MatMul: a layer on each row where the right side is a constant vector or matrix."""
    right = scope.constants.get(node.input(1))
    if right is not None and right.ndim in (1, 2) and node.input(0) not in scope.constants:
        _layer(node, scope)
        return
    a, left = _operand_of(node, scope, 0)
    b, other = _operand_of(node, scope, 1)
    _checked(scope.tensors[left].shape, scope.tensors[other].shape)
    shape = [
        *np.broadcast_shapes(a[:-2], b[:-2]),
        *(a[-2:-1] if len(a) > 1 else ()),
        *(b[-1:] if len(b) > 1 else ()),
    ]
    attrs = {"alpha": 1.0, "trans_a": False, "trans_b": False}
    if min(len(a), len(b)) > 1:
        scope.emit("MatMul", node.name, (left, other), node.outputs[0], attrs)
        return
    product = scope.fresh(f"{node.outputs[0]}.product")
    scope.emit("MatMul", node.name, (left, other), product, attrs)
    scope.view(node, product, shape, node.outputs[0])


def _operand_of(node: OnnxNode, scope: Scope, slot: int) -> tuple[ShapeTuple, str]:
    """The shape of an operand as it is given, and the operand with at least two axes."""
    held = node.input(slot) in scope.constants
    given = scope.floats(node, slot).shape if held else scope.activation(node, slot).shape
    if not given:
        raise Unsupported("it multiplies a scalar", "vectors, matrices and batches")
    shape = given if len(given) > 1 else (1, *given) if slot == 0 else (*given, 1)
    if held:
        return given, scope.parameter(node, slot, scope.floats(node, slot).reshape(shape))
    return given, scope.view(node, node.input(slot), shape)


def _layer(node: OnnxNode, scope: Scope) -> None:
    x, weight = scope.activation(node, 0), scope.floats(node, 1)
    if not x.shape or x.shape[-1] != weight.shape[0]:
        raise Unsupported(
            f"its right side has the shape {weight.shape} for inputs of shape {x.shape}",
            "as many rows as inputs",
        )
    matrix = weight.reshape(weight.shape[0], -1)
    w = scope.parameter(node, 1, matrix.T, "transpose")
    rows = scope.view(node, x.name, x.shape if len(x.shape) > 1 else (1, *x.shape))
    if len(x.shape) > 1 and weight.ndim == 2:
        scope.emit("Gemm", node.name, (rows, w, ""), node.outputs[0])
        return
    y = scope.emit("Gemm", node.name, (rows, w, ""), scope.fresh(f"{node.outputs[0]}.rows"))
    scope.view(node, y, (*x.shape[:-1], *weight.shape[1:]), node.outputs[0])


def _checked(a: ShapeTuple, b: ShapeTuple) -> None:
    try:
        np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise Unsupported(f"it multiplies the shapes {a} and {b}", "batches that match") from None
    if a[-1] != b[-2]:
        raise Unsupported(f"it multiplies the shapes {a} and {b}", "matrices that match")
    left, right = _operand(a, False), _operand(b, False)
    blocks = _merged(_blocks(a, b, left, right))
    summed = [[block for block in blocks if block[side] == 0] for side in (1, 2)]
    if max(len(blocks), *(len(group) for group in summed)) > _BLOCKS:
        raise Unsupported(f"it multiplies the shapes {a} and {b}", _AXES)


@dataclass(frozen=True)
class _Operand:
    """The strides of an operand: of its axes before the matrix, of rows and of columns."""

    blocks: tuple[int, ...]
    row: int
    column: int


def _operand(shape: ShapeTuple, transposed: bool) -> _Operand:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    row, column = strides[-2:]
    blocks = tuple(
        0 if size == 1 else stride for size, stride in zip(shape[:-2], strides, strict=False)
    )
    return _Operand(blocks, *((column, row) if transposed else (row, column)))


_Block = tuple[int, int, int]  # size, stride of the left operand, stride of the right one


def _blocks(a: ShapeTuple, b: ShapeTuple, left: _Operand, right: _Operand) -> list[_Block]:
    """The axes before the matrices, as both operands see them."""
    sizes = np.broadcast_shapes(a[:-2], b[:-2])
    padded = [(0,) * (len(sizes) - len(o.blocks)) + o.blocks for o in (left, right)]
    return [block for block in zip(sizes, *padded, strict=True) if block[0] > 1]


def _merged(blocks: list[_Block]) -> list[_Block]:
    """Neighbouring axes that both operands walk through as if they were one."""
    found: list[_Block] = []
    for size, left, right in blocks:
        if found and found[-1][1:] == (left * size, right * size):
            found[-1] = (found[-1][0] * size, left, right)
        else:
            found.append((size, left, right))
    return found


def _axes(name: str, blocks: list[_Block]) -> list[tuple[str, tuple[int, ...]]]:
    filled = [(1, 0, 0)] * (_BLOCKS - len(blocks)) + blocks
    sizes, left, right = zip(*filled, strict=True)
    return [(name, sizes), (f"{name}_left", left), (f"{name}_right", right)]


def _contraction(
    blocks: list[_Block],
    summed: list[_Block],
    rows: tuple[int, int],
    columns: tuple[int, int],
    inner: _Block,
) -> Struct:
    """`rows` and `columns` are a size and the stride of the one operand that has them."""
    return Struct(
        "contraction",
        (
            *_axes("outer", blocks),
            ("rows", rows[0]),
            ("rows_left", rows[1]),
            ("columns", columns[0]),
            ("columns_right", columns[1]),
            *_axes("summed", summed),
            ("inner", inner[0]),
            ("inner_left", inner[1]),
            ("inner_right", inner[2]),
        ),
    )


def _sizes(node: Node, a: ShapeTuple, b: ShapeTuple) -> tuple[int, int, int]:
    i, k = a[-2:][::-1] if node.attrs["trans_a"] else a[-2:]
    j = b[-2] if node.attrs["trans_b"] else b[-1]
    return i, k, j


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    a, b = shapes
    i, k, j = _sizes(node, a, b)
    if k != (b[-1] if node.attrs["trans_b"] else b[-2]):
        raise Unsupported(f"it multiplies the shapes {a} and {b}", "matrices that match")
    return (*np.broadcast_shapes(a[:-2], b[:-2]), i, j)


def _forward(node: Node, a: ShapeTuple, b: ShapeTuple) -> Struct:
    left, right = _operand(a, node.attrs["trans_a"]), _operand(b, node.attrs["trans_b"])
    i, k, j = _sizes(node, a, b)
    blocks = _merged(_blocks(a, b, left, right))
    inner = (k, left.column, right.row)
    return _contraction(blocks, [], (i, left.row), (j, right.column), inner)


def _left_gradient(node: Node, a: ShapeTuple, b: ShapeTuple, y: ShapeTuple) -> Struct:
    """ga[i, k] = sum over the blocks that read it, and over j, of gy[..., i, j] b[..., k, j]"""
    gy, right = _operand(y, False), _operand(b, node.attrs["trans_b"])
    i, k, j = _sizes(node, a, b)
    kept, summed = _split(a, _blocks(y, b, gy, right), y)
    if node.attrs["trans_a"]:  # as it lies: rows are k, which only b has
        swapped, over = _swapped(kept), _swapped(summed)
        inner = (j, right.column, gy.column)
        return _contraction(swapped, over, (k, right.row), (i, gy.row), inner)
    return _contraction(kept, summed, (i, gy.row), (k, right.row), (j, gy.column, right.column))


def _right_gradient(node: Node, a: ShapeTuple, b: ShapeTuple, y: ShapeTuple) -> Struct:
    """gb[k, j] = sum over the blocks that read it, and over i, of a[..., i, k] gy[..., i, j]"""
    left, gy = _operand(a, node.attrs["trans_a"]), _operand(y, False)
    i, k, j = _sizes(node, a, b)
    kept, summed = _split(b, _blocks(a, y, left, gy), y)
    if node.attrs["trans_b"]:
        swapped, over = _swapped(kept), _swapped(summed)
        return _contraction(swapped, over, (j, gy.column), (k, left.column), (i, gy.row, left.row))
    return _contraction(kept, summed, (k, left.column), (j, gy.column), (i, left.row, gy.row))


def _split(
    of: ShapeTuple, blocks: list[_Block], y: ShapeTuple
) -> tuple[list[_Block], list[_Block]]:
    """The axes of an operand, and the broadcast axes its gradient is summed over."""
    padded = (1,) * (len(y) - len(of)) + of[:-2]
    own = [size > 1 for size, whole in zip(padded, y[:-2], strict=True) if whole > 1]
    kept = [block for block, has in zip(blocks, own, strict=True) if has]
    summed = [block for block, has in zip(blocks, own, strict=True) if not has]
    return _merged(kept), _merged(summed)


def _swapped(blocks: list[_Block]) -> list[_Block]:
    return [(size, right, left) for size, left, right in blocks]


def _macs(node: Node, graph: Graph) -> int:
    a, b = (graph.shape(name) for name in node.inputs[:2])
    i, k, j = _sizes(node, a, b)
    return int(np.prod(np.broadcast_shapes(a[:-2], b[:-2]), dtype=np.int64)) * i * k * j


def _call(node: Node, graph: Graph) -> Call:
    a, b = node.inputs
    geometry = _forward(node, graph.shape(a), graph.shape(b))
    operands = (Ref(a), Ref(b), Ref(node.outputs[0]))
    return Call("contract_f32", (geometry, float(node.attrs["alpha"]), *operands))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    graph = backward.graph
    a, b = node.inputs
    shapes = graph.shape(a), graph.shape(b), graph.shape(node.outputs[0])
    sides = (
        (a, _left_gradient(node, *shapes), (b, gy) if node.attrs["trans_a"] else (gy, b)),
        (b, _right_gradient(node, *shapes), (gy, a) if node.attrs["trans_b"] else (a, gy)),
    )
    macs = _macs(node, graph)
    later = []
    for operand, geometry, reads in sides:
        attrs = {"geometry": geometry, "alpha": node.attrs["alpha"], "macs": macs}
        if not backward.wants(operand):
            continue
        if graph.tensor(operand).data is not None:
            later.append((operand, reads, attrs))
        else:
            backward.add(operand, backward.emit("MatMulGradient", node, reads, operand, attrs))
    for operand, reads, attrs in later:
        backward.learn("MatMulLearn", node, operand, reads, attrs)


def _gradient_call(node: Node, graph: Graph) -> Call:
    left, right = node.inputs
    operands = (Ref(left), Ref(right), Ref(node.outputs[0]))
    return Call("contract_f32", (node.attrs["geometry"], float(node.attrs["alpha"]), *operands))


def _learn_call(node: Node, graph: Graph) -> Call:
    left, right, parameter = node.inputs[:3]
    operands = (Ref(left), Ref(right), Learner(parameter))
    arguments = (node.attrs["geometry"], float(node.attrs["alpha"]), *operands)
    return Call("contract_gradient_f32", arguments)


def _given_macs(node: Node, graph: Graph) -> int:
    macs: int = node.attrs["macs"]
    return macs


register(
    Operator(
        "MatMul",
        _call,
        "contraction_f32.h",
        _shape,
        _macs,
        _gradient,
        layer=Layer(weights=(0, 1)),
    )
)
# With a matrix that no plan may change: what it computes is no layer.
register(Operator("FixedMatMul", _call, "contraction_f32.h", _shape, _macs, _gradient))
register(Operator("MatMulGradient", _gradient_call, "contraction_f32.h", macs=_given_macs))
register(Operator("MatMulLearn", _learn_call, "contraction_gradient_f32.h", macs=_given_macs))
