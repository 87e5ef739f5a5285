"""Gemm: a dense layer on a vector, with the weight stored (outputs, inputs).

    y[n] = b[n] + sum over k of w[n, k] * x[k]

Inputs: x (1, K), w (N, K), b (N) or absent. Output: (1, N).
"""

from __future__ import annotations

from math import prod

import numpy as np

from tinyodl.graph import Array, Graph, Node
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
    Unsupported,
    imports,
    register,
)


@imports(
    "Gemm",
    becomes=("Gemm", "Reshape"),
    covers="alpha, beta, transA, transB",
    limits="more than one row, B or C that are computed, alpha 0",
)
def gemm(node: OnnxNode, scope: Scope) -> None:
    """Gemm with constant B and C on one row; alpha and beta go into the constants."""
    x = scope.activation(node, 0)
    weight = scope.floats(node, 1)
    alpha, beta = _factor(node, "alpha"), _factor(node, "beta")
    transposed = node.integer("transB", 0)
    if weight.ndim != 2:
        raise Unsupported(f"B has the shape {weight.shape}", "2 dimensions")
    if alpha == 0.0:
        raise Unsupported("alpha is 0", "any other number")
    outputs, inputs = weight.shape if transposed else weight.shape[::-1]
    row = (1, x.size)
    if len(x.shape) != 2 or x.shape[1 if node.integer("transA", 0) == 0 else 0] != x.size:
        raise Unsupported(f"A has the shape {x.shape}", "one row, batch 1")
    if inputs != x.size:
        raise Unsupported(f"B has {inputs} rows for {x.size} inputs", "as many rows as inputs")
    bias = scope.floats(node, 2) if node.input(2) and beta != 0.0 else None
    if bias is not None:
        try:
            full = np.broadcast_to(bias, (1, outputs)).reshape(outputs)
        except ValueError:
            raise Unsupported(f"C has the shape {bias.shape}", f"({outputs},)") from None
    if transposed:
        w = scope.parameter(node, 1, _scaled(weight, alpha), "none", alpha)
    else:
        w = scope.parameter(node, 1, _scaled(weight.T, alpha), "transpose", alpha)
    b = scope.parameter(node, 2, _scaled(full, beta), "none", beta) if bias is not None else ""
    scope.emit("Gemm", node.name, (scope.view(node, x.name, row), w, b), node.outputs[0])


@imports(
    "MatMul",
    becomes=("Gemm", "Reshape"),
    covers="one row by a constant matrix",
    limits="more than one row, a right side that is computed",
)
def matmul(node: OnnxNode, scope: Scope) -> None:
    """MatMul of one row with a constant matrix: a Gemm without bias."""
    x = scope.activation(node, 0)
    weight = scope.floats(node, 1)
    if weight.ndim != 2:
        raise Unsupported(f"its right side has the shape {weight.shape}", "2 dimensions")
    if prod(x.shape[:-1]) != 1 or len(x.shape) < 2:
        raise Unsupported(f"its left side has the shape {x.shape}", "one row, batch 1")
    if weight.shape[0] != x.size:
        raise Unsupported(
            f"its right side has {weight.shape[0]} rows for {x.size} inputs",
            "as many rows as inputs",
        )
    w = scope.parameter(node, 1, weight.T, "transpose")
    row = scope.view(node, x.name, (1, x.size))
    if len(x.shape) == 2:
        scope.emit("Gemm", node.name, (row, w, ""), node.outputs[0])
        return
    y = scope.emit("Gemm", node.name, (row, w, ""), scope.fresh(f"{node.outputs[0]}.row"))
    scope.view(node, y, (*x.shape[:-1], weight.shape[1]), node.outputs[0])


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


def _forward_call(node: Node, graph: Graph) -> Call:
    x, w, b = node.inputs
    n, k = graph.shape(w)
    return Call("gemm_f32", (n, k, Ref(x), Ref(w), Ref(b), Ref(node.outputs[0])))


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
    n, k = graph.shape(w)
    return Call("gemm_input_gradient_f32", (n, k, Ref(gy), Ref(w), Ref(node.outputs[0])))


def _weight_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x, w = node.inputs[:3]
    n, k = graph.shape(w)
    return Call("gemm_weight_gradient_f32", (n, k, Ref(gy), Ref(x), Learner(w)))


def _bias_gradient_call(node: Node, graph: Graph) -> Call:
    gy, b = node.inputs[:2]
    return Call("gemm_bias_gradient_f32", (graph.tensor(gy).size, Ref(gy), Learner(b)))


register(
    Operator(
        "Gemm",
        shape=_shape,
        macs=lambda n, g: g.tensor(n.inputs[1]).size,
        call=_forward_call,
        kernel="gemm_f32.h",
        gradient=_gradient,
        layer=Layer(weights=(1,), biases=(2,), channel_axis=-1),
    )
)
register(
    Operator(
        "GemmInputGradient",
        macs=lambda n, g: g.tensor(n.inputs[1]).size,
        call=_input_gradient_call,
        kernel="gemm_f32.h",
    )
)
register(
    Operator(
        "GemmWeightGradient",
        macs=lambda n, g: g.tensor(n.inputs[2]).size,
        call=_weight_gradient_call,
        kernel="gemm_gradient_f32.h",
    )
)
register(
    Operator(
        "GemmBiasGradient",
        macs=lambda n, g: g.tensor(n.inputs[1]).size,
        call=_bias_gradient_call,
        kernel="gemm_gradient_f32.h",
    )
)
