"""QLinearLookup: any function of one int8 value, as a table.

    y = table[x + 128]                gx = gy * derivative[x + 128]

Inputs: x, table int8 (256), derivative float32 (256) of the real function at x, 0 where y is
saturated. A node that no gradient passes through needs no derivative: it may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Argument,
    Backward,
    Call,
    Operator,
    Ref,
    no_macs,
    register,
    same_shape,
)
from tinyodl.ops.shared.rows import all_rows, held_rows, map_struct, row_for_row


def _rows(
    node: Node, graph: Graph, held: Mapping[str, int], first: Argument, end: Argument
) -> Call:
    (x, table, *_), (y,) = node.inputs, node.outputs
    rows = (*held_rows((x, y), graph, held), first, end)
    return Call("qlinear_lookup_i8", (map_struct(y, graph), *rows, Ref(table), Ref(x), Ref(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    x, _, derivative = node.inputs
    gx = backward.emit("QLinearLookupGradient", node, (gy, x, derivative), like=x)
    backward.add(x, gx)


def _gradient_call(node: Node, graph: Graph) -> Call:
    (gx,) = node.outputs
    operands = (*map(Ref, node.inputs), Ref(gx))
    return Call("qlinear_lookup_gradient_f32", (graph.tensor(gx).size, *operands))


_KERNEL = "qlinear_lookup_i8.h"
register(
    Operator(
        "QLinearLookup",
        all_rows(_rows),
        _KERNEL,
        same_shape,
        no_macs,
        _gradient,
        in_place=(0,),
        by_rows=row_for_row(_rows),
    )
)
register(Operator("QLinearLookupGradient", _gradient_call, _KERNEL, in_place=(0,)))
