"""Gemm: a dense layer on a vector, with the weight stored (outputs, inputs).

    y[n] = b[n] + sum over k of w[n, k] * x[k]

Inputs: x (1, K), w (N, K), b (N) or absent. Output: (1, N).
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.operator import (
    Backward,
    Call,
    Learner,
    Operator,
    Ref,
    ShapeTuple,
    register,
)


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
        layer=(1, 2),
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
