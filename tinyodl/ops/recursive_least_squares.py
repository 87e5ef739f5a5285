"""Recursive least squares: a dense layer that fits all samples so far, without a learning rate.

With x~, the layer's input and a 1 for its bias, its error e = t - y, and P, at first I / ridge:

    g = P x~      d = forgetting + x~ . g      w += e g' / d      P = (P - g g' / d) / forgetting

Inputs: the gradient of the loss, `factor` times which is e; x (1, K); w (N, K); b (N) or absent;
P, its upper triangle row by row (M (M + 1) / 2), M = K + 1 with a bias. Output: g (M), scratch.
P is never divided by `forgetting` where that would take its trace beyond where it began: without
new information it would grow without bound (covariance wind-up).

After n samples the layer is, but for rounding, the ridge regression over all of them. Plackett:
Some theorems in least squares, 1950; as the learner behind a neural network's features: Liang et
al., OS-ELM, 2006.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, register

_KERNEL = "recursive_least_squares_f32.h"


def triangle(size: int) -> int:
    """Elements of the packed upper triangle of a square matrix."""
    return size * (size + 1) // 2


def _sizes(node: Node, graph: Graph) -> tuple[int, int]:
    outputs, _ = graph.shape(node.inputs[2])
    return outputs, graph.tensor(node.outputs[0]).size


def _macs(node: Node, graph: Graph) -> int:
    outputs, size = _sizes(node, graph)
    return size * size + triangle(size) + outputs * size


def _call(node: Node, graph: Graph) -> Call:
    gy, x, w, b, p = node.inputs
    outputs, size = _sizes(node, graph)
    attrs = node.attrs
    forgetting = float(attrs["forgetting"])
    operands = (attrs["factor"], Ref(gy), Ref(x), Ref(w), Ref(b), Ref(p), Ref(node.outputs[0]))
    if forgetting == 1:
        return Call("rls_f32", (outputs, size, *operands))
    bound = size / attrs["ridge"]
    return Call("rls_forgetting_f32", (outputs, size, forgetting, bound, *operands))


def _reset(node: Node, graph: Graph) -> Call | None:
    p = node.inputs[4]
    if graph.tensor(p).data is not None:
        return None
    size = graph.tensor(node.outputs[0]).size
    return Call("rls_reset_f32", (size, 1 / node.attrs["ridge"], Ref(p)))


register(
    Operator(
        "RecursiveLeastSquares",
        macs=_macs,
        call=_call,
        reset=_reset,
        kernel=_KERNEL,
    )
)
