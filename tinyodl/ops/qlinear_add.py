"""QLinearAdd: the sum of two int8 tensors of one shape, each with its own scale and zero point.

    v = (a - a_zero_point) * a_factor + (b - b_zero_point) * b_factor
    y = clamp(round(v) + zero_point, low, high)

The gradient, cut off where the mask says so, is that of both operands. One of them may be constant.
Attributes: a_factor (a's scale / y's), b_factor, low, high, pass_low, pass_high (`Bounds`).
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
    Struct,
    no_macs,
    register,
    same_shape,
)
from tinyodl.ops.shared.quantization import output_struct, through_mask, with_mask, zero_point
from tinyodl.ops.shared.rows import all_rows, held_rows, map_struct, row_for_row


def _rows(
    node: Node, graph: Graph, held: Mapping[str, int], first: Argument, end: Argument
) -> Call:
    (a, b), (y, *mask) = node.inputs, node.outputs
    addends = Struct(
        "addends_i8",
        (
            ("a_zero_point", zero_point(a, graph)),
            ("b_zero_point", zero_point(b, graph)),
            ("a_factor", float(node.attrs["a_factor"])),
            ("b_factor", float(node.attrs["b_factor"])),
        ),
    )
    rows = (*held_rows((a, b, y), graph, held), first, end)
    operands = (Ref(a), Ref(b), Ref(y), Ref("".join(mask)))
    return Call(
        "qlinear_add_i8",
        (map_struct(y, graph), *rows, addends, output_struct(node, graph), *operands),
    )


def _gradient(backward: Backward, node: Node, gy: str, *_: None) -> None:
    passed = through_mask(backward, node, gy)
    for operand in node.inputs:
        if backward.wants(operand):
            backward.add(operand, passed)


register(
    Operator(
        "QLinearAdd",
        all_rows(_rows),
        "qlinear_add_i8.h",
        same_shape,
        no_macs,
        _gradient,
        in_place=(0, 1),
        by_rows=row_for_row(_rows),
        saves=with_mask,
    )
)
