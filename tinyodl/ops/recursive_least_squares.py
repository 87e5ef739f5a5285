"""Recursive least squares: a dense layer that fits all samples so far, without a learning rate.

With x~, the layer's input and a 1 for its bias, its error e = t - y, and P:

    g = P x~      d = forgetting + x~ . g      w += e g' / d      P = (P - g g' / d) / forgetting

Inputs: the gradient of the loss, e is `factor` times it; x (1, K); w (N, K); b (N) or absent;
P, its upper triangle row by row (M (M + 1) / 2), M = K + 1 with a bias; power (2). Output: g (M),
scratch.

P begins with the first sample whose x is not 0, as a diagonal matrix: 1 / (ridge |x|^2) for the
inputs and 1 / (ridge K) for the bias, so that the units of the inputs play no part. `power` holds
this |x|^2 and the number of samples so far, up to 10. If one of these samples is 1000 times as
large or as small, everything begins anew, weights included.

After n samples the layer is, but for rounding, the ridge regression over all of them. Plackett:
Some theorems in least squares, 1950; as the learner behind a neural network's features: Liang et
al., OS-ELM, 2006.

With `forgetting` below 1, P would grow without bound in directions that bring nothing new
(covariance wind-up). After each sample P therefore takes an artificial one, along the least known
axis: e_i sqrt(c), c = (1 - forgetting) M times the ridge of this axis. Its target is the current
output of the weights, so the weights do not change. This is regularised forgetting, as of
Levenberg-Marquardt RLS (Gunnarsson: Combining tracking and regularization in recursive least
squares identification, 1996). If the trace of P, relative to the initial P, would still exceed the
initial trace, P is not divided by the forgetting factor.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, register

FIRST = 10  # RLS_FIRST of the kernel: samples that may still say where P begins
_KERNEL = "recursive_least_squares_f32.h"


def triangle(size: int) -> int:
    """Elements of the packed upper triangle of a square matrix."""
    return size * (size + 1) // 2


def _sizes(node: Node, graph: Graph) -> tuple[int, int]:
    outputs, _ = graph.shape(node.inputs[2])
    return outputs, graph.tensor(node.outputs[0]).size


def _macs(node: Node, graph: Graph) -> int:
    outputs, size = _sizes(node, graph)
    leaks = triangle(size) if node.attrs["forgetting"] < 1 else 0
    return size * size + triangle(size) + outputs * size + leaks


def _call(node: Node, graph: Graph) -> Call:
    gy, x, w, b, p, power = node.inputs
    outputs, size = _sizes(node, graph)
    attrs = node.attrs
    forgetting = float(attrs["forgetting"])
    held = map(Ref, (gy, x, w, b, p, power, node.outputs[0]))
    operands = (attrs["factor"], *held)
    if forgetting == 1:
        return Call("rls_f32", (outputs, size, attrs["ridge"], *operands))
    return Call("rls_forgetting_f32", (outputs, size, attrs["ridge"], forgetting, *operands))


register(
    Operator(
        "RecursiveLeastSquares",
        macs=_macs,
        call=_call,
        kernel=_KERNEL,
    )
)
