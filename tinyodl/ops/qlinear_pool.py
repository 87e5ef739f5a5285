"""QLinearMaxPool and QLinearAveragePool: the pools over int8 maps.

    QLinearMaxPool      y[c, p] = max over the window of x[c], quantised as x is
    QLinearAveragePool  v = (sum over the window of x[c] - x_zero_point) * factor / divisor
                        y[c, p] = clamp(round(v) + zero_point, low, high)

Attributes: those of MaxPool and AveragePool, with the same windows; QLinearAveragePool also factor
(x's scale / y's), low, high, pass_low, pass_high (`Bounds`). The average over a whole map is one
window. The gradient of an average is AveragePool's, cut off by the mask. The gradient of a maximum
goes to the first maximum: it is found again in x.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinyodl.graph import Graph, Node
from tinyodl.ops.pool import geometry, pooled_shape
from tinyodl.ops.shared import (
    Argument,
    Backward,
    ByRows,
    Call,
    Operator,
    Ref,
    no_macs,
    register,
)
from tinyodl.ops.shared.quantization import output_struct, through_mask, with_mask, zero_point
from tinyodl.ops.shared.rows import all_rows, height, held_rows


def _max_rows(
    node: Node, graph: Graph, held: Mapping[str, int], first: Argument, end: Argument
) -> Call:
    (x,), (y,) = node.inputs, node.outputs
    over = geometry(node, graph.shape(x), graph.shape(y))
    rows = (*held_rows((x, y), graph, held), first, end)
    return Call("qlinear_max_pool_i8", (over, *rows, Ref(x), Ref(y)))


def _max_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, backward.emit("QLinearMaxPoolGradient", node, (gy, x), like=x))


def _max_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x = node.inputs
    (gx,) = node.outputs
    over = geometry(node, graph.shape(x), graph.shape(gy))
    return Call("qlinear_max_pool_gradient_f32", (over, Ref(gy), Ref(x), Ref(gx)))


def _average_rows(
    node: Node, graph: Graph, held: Mapping[str, int], first: Argument, end: Argument
) -> Call:
    (x,), (y, *mask) = node.inputs, node.outputs
    over = geometry(node, graph.shape(x), graph.shape(y))
    rows = (*held_rows((x, y), graph, held), first, end)
    numbers = (zero_point(x, graph), float(node.attrs["factor"]), output_struct(node, graph))
    operands = (Ref(x), Ref(y), Ref("".join(mask)))
    return Call("qlinear_average_pool_i8", (over, *rows, *numbers, *operands))


def _average_gradient(backward: Backward, node: Node, gy: str, *_: None) -> None:
    (x,) = node.inputs
    passed = through_mask(backward, node, gy)
    backward.add(x, backward.emit("AveragePoolGradient", node, (passed,), like=x))


def _needs(node: Node, graph: Graph, n: int) -> int:
    """The rows down to the last one that the window of output row n - 1 covers."""
    top = _top(node, n - 1)
    last = top + (node.attrs["kernel"][0] - 1) * node.attrs["dilations"][0]
    return _on_map(node, graph, last + 1)


def _frees(node: Node, graph: Graph, n: int) -> int:
    """The rows above the window of output row n; all where there is none."""
    rows = height(node.inputs[0], graph)
    return rows if n >= height(node.outputs[0], graph) else _on_map(node, graph, _top(node, n))


def _top(node: Node, row: int) -> int:
    top: int = row * node.attrs["strides"][0] - node.attrs["pads"][0]
    return top


def _on_map(node: Node, graph: Graph, row: int) -> int:
    return min(max(row, 0), height(node.inputs[0], graph))


_KERNEL = "qlinear_pool_i8.h"
register(
    Operator(
        "QLinearMaxPool",
        all_rows(_max_rows),
        _KERNEL,
        pooled_shape,
        no_macs,
        _max_gradient,
        by_rows=ByRows(_needs, _frees, _max_rows),
    )
)
register(Operator("QLinearMaxPoolGradient", _max_gradient_call, _KERNEL))
register(
    Operator(
        "QLinearAveragePool",
        all_rows(_average_rows),
        _KERNEL,
        pooled_shape,
        no_macs,
        _average_gradient,
        by_rows=ByRows(_needs, _frees, _average_rows),
        saves=with_mask,
    )
)
