"""Gemm: a dense layer on each row, with the weight stored (outputs, inputs).

    y[n] = b[n] + sum over k of w[n, k] * x[k]

Inputs: x (..., K), w (N, K), b (N) or absent. Output: (..., N). One row is the common case and has
kernels of its own. What is no layer becomes `MatMul`, with `Mul` and `Add` behind it.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tinyodl.graph import Array, Graph, Node, Storage, Tensor
from tinyodl.ops.shared import (
    Argument,
    Backward,
    Call,
    Layer,
    Learner,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    ShapeTuple,
    Unsupported,
    imports,
    register,
)
from tinyodl.ops.shared.float_learning import channels_learn


@imports(
    "Gemm",
    becomes=("Gemm", "MatMul", "Mul", "Add", "Reshape"),
    covers="alpha, beta, transA, transB; A, B and C constant or computed, C of every shape",
)
def gemm(node: OnnxNode, scope: Scope) -> None:
    """Gemm: a layer where B is constant, with C as its bias; alpha and beta go into both."""
    alpha, beta = _factor(node, "alpha"), _factor(node, "beta")
    added = beta != 0.0 and bool(node.input(2))
    constant = [node.input(slot) in scope.constants for slot in (0, 1)]
    x = _rows(node, scope) if alpha != 0.0 and constant == [False, True] else None
    product = scope.fresh(f"{node.outputs[0]}.product") if added else node.outputs[0]
    if x is None:
        factors = _matrix(node, scope, 0), _matrix(node, scope, 1)
        attrs = {
            "alpha": alpha,
            "trans_a": bool(node.integer("transA", 0)),
            "trans_b": bool(node.integer("transB", 0)),
        }
        shape = scope.tensors[scope.emit("MatMul", node.name, factors, product, attrs)].shape
        if added:
            _add(node, scope, product, shape, beta)
        return
    w = _weight(node, scope, alpha, x)
    rows, outputs = scope.tensors[x].shape[0], scope.tensors[w].shape[0]
    bias = _bias(node, scope, (rows, outputs)) if added else None
    if bias is None and added:
        scope.emit("Gemm", node.name, (x, w, ""), product)
        _add(node, scope, product, (rows, outputs), beta)
        return
    b = scope.parameter(node, 2, _scaled(bias, beta), "none", beta) if bias is not None else ""
    scope.emit("Gemm", node.name, (x, w, b), node.outputs[0])


def _rows(node: OnnxNode, scope: Scope) -> str | None:
    """A as rows of inputs; None where that would take a transposition."""
    x = scope.tensors[_matrix(node, scope, 0)]
    if node.integer("transA", 0) and 1 not in x.shape:
        return None
    return scope.view(node, x.name, x.shape[::-1] if node.integer("transA", 0) else x.shape)


def _matrix(node: OnnxNode, scope: Scope, slot: int) -> str:
    tensor = scope.operand(node, slot)
    if len(tensor.shape) != 2:
        raise Unsupported(f"{'AB'[slot]} has the shape {tensor.shape}", "2 dimensions")
    return tensor.name


def _weight(node: OnnxNode, scope: Scope, alpha: float, x: str) -> str:
    weight = scope.floats(node, 1)
    if weight.ndim != 2:
        raise Unsupported(f"B has the shape {weight.shape}", "2 dimensions")
    transposed = node.integer("transB", 0)
    inputs, given = weight.shape[1 if transposed else 0], scope.tensors[x].shape[1]
    if inputs != given:
        raise Unsupported(f"B has {inputs} rows for {given} inputs", "as many rows as inputs")
    if transposed:
        return scope.parameter(node, 1, _scaled(weight, alpha), "none", alpha)
    return scope.parameter(node, 1, _scaled(weight.T, alpha), "transpose", alpha)


def _bias(node: OnnxNode, scope: Scope, shape: tuple[int, int]) -> Array | None:
    """C with one value for each output; None where it is not that."""
    if node.input(2) not in scope.constants:
        return None
    value = scope.floats(node, 2)
    _check_c(value.shape, shape)
    if value.ndim == 2 and value.shape[0] > 1:
        return None
    return np.broadcast_to(value, (1, shape[1])).reshape(shape[1])


def _add(node: OnnxNode, scope: Scope, product: str, shape: tuple[int, ...], beta: float) -> None:
    """Put beta * C behind a product."""
    if node.input(2) in scope.constants:
        value = scope.floats(node, 2)
        _check_c(value.shape, shape)
        padded = value.reshape((1,) * (2 - value.ndim) + value.shape)
        c = scope.parameter(node, 2, _scaled(padded, beta), "none", beta)
    else:
        given = scope.activation(node, 2)
        _check_c(given.shape, shape)
        c = scope.view(node, given.name, (1,) * (2 - len(given.shape)) + given.shape)
        if beta != 1.0:
            factor = Tensor(
                scope.fresh(f"{node.name}.beta"),
                (1, 1),
                Storage.FLASH,
                data=np.full((1, 1), beta, np.float32),
            )
            scaled = scope.fresh(f"{c}.scaled")
            name = scope.fresh_node(f"{node.name}.scale")
            c = scope.emit("Mul", name, (c, scope.add(factor)), scaled)
    scope.emit("Add", scope.fresh_node(f"{node.name}.add"), (product, c), node.outputs[0])


def _check_c(given: ShapeTuple, shape: ShapeTuple) -> None:
    padded = (1,) * (2 - len(given)) + given
    if len(padded) != 2 or any(a not in (1, b) for a, b in zip(padded, shape, strict=True)):
        raise Unsupported(f"C has the shape {given}", f"one that broadcasts to {shape}")


def _factor(node: OnnxNode, name: str) -> float:
    value = node.number(name, 1.0)
    if not np.isfinite(value):
        raise Unsupported(f"{name} is {value}", "a finite number")
    return value


def _scaled(value: Array, scale: float) -> Array:
    with np.errstate(over="ignore"):  # `Scope.parameter` refuses what is not finite
        return value if scale == 1.0 else value * np.float32(scale)


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return (*shapes[0][:-1], shapes[1][0])


def _rows_of(tensor: str, graph: Graph) -> int:
    return prod(graph.shape(tensor)[:-1])


def _forward_call(node: Node, graph: Graph) -> Call:
    x, w, b = node.inputs
    return _on_rows("gemm{}_f32", x, w, graph, (Ref(x), Ref(w), Ref(b), Ref(node.outputs[0])))


def _on_rows(
    function: str, rows_of: str, w: str, graph: Graph, operands: tuple[Argument, ...]
) -> Call:
    """A call of the kernel for one row, or of that for several."""
    rows, (n, k) = _rows_of(rows_of, graph), graph.shape(w)
    if rows == 1:
        return Call(function.format(""), (n, k, *operands))
    return Call(function.format("_rows"), (rows, n, k, *operands))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    x, w, b = node.inputs
    if backward.wants(x):
        backward.add(x, backward.emit("GemmInputGradient", node, (gy, w), like=x))
    if backward.wants(w):
        backward.learn("GemmWeightGradient", node, w, (gy, x))
    if b and backward.wants(b):
        backward.learn("GemmBiasGradient", node, b, (gy,))


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    gy, w = node.inputs
    operands = (Ref(gy), Ref(w), Ref(node.outputs[0]))
    return _on_rows("gemm{}_input_gradient_f32", gy, w, graph, operands)


def _weight_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x, w = node.inputs[:3]
    operands = (Ref(gy), Ref(x), Learner(w))
    return _on_rows("gemm{}_weight_gradient_f32", gy, w, graph, operands)


def _bias_gradient_call(node: Node, graph: Graph) -> Call:
    gy, b = node.inputs[:2]
    rows, n = _rows_of(gy, graph), graph.shape(gy)[-1]
    if rows == 1:
        return Call("gemm_bias_gradient_f32", (n, Ref(gy), Learner(b)))
    return Call("gemm_rows_bias_gradient_f32", (rows, n, Ref(gy), Learner(b)))


register(
    Operator(
        "Gemm",
        shape=_shape,
        macs=lambda n, g: _rows_of(n.inputs[0], g) * g.tensor(n.inputs[1]).size,
        call=_forward_call,
        kernel="gemm_f32.h",
        gradient=_gradient,
        layer=Layer(weights=(1,), biases=(2,), channel_axis=-1),
        learns=channels_learn,
    )
)
register(
    Operator(
        "GemmInputGradient",
        macs=lambda n, g: _rows_of(n.inputs[0], g) * g.tensor(n.inputs[1]).size,
        call=_input_gradient_call,
        kernel="gemm_f32.h",
    )
)
register(
    Operator(
        "GemmWeightGradient",
        macs=lambda n, g: _rows_of(n.inputs[0], g) * g.tensor(n.inputs[2]).size,
        call=_weight_gradient_call,
        kernel="gemm_gradient_f32.h",
    )
)
register(
    Operator(
        "GemmBiasGradient",
        macs=lambda n, g: g.tensor(n.inputs[0]).size,
        call=_bias_gradient_call,
        kernel="gemm_gradient_f32.h",
    )
)
