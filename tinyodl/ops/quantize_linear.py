"""QuantizeLinear and DequantizeLinear between float32 and int8, and where the gradient passes.

    QuantizeLinear    y = clamp(round(x / scale) + zero_point, low, high)
    DequantizeLinear  y = scale * (x - zero_point)
    MaskGradient      gx = gy where the mask has a 1, else 0

The int8 tensor has one scale and one zero point. Its gradient is with respect to its real values:
rounding passes the gradient on (the straight-through estimator), DequantizeLinear leaves it
unchanged.
Attributes of QuantizeLinear: low, high, pass_low, pass_high (`Bounds`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Argument,
    Backward,
    ByChannels,
    Call,
    Operator,
    Ref,
    no_macs,
    register,
    same_shape,
)
from tinyodl.ops.shared.quantization import (
    output_struct,
    scale,
    through_mask,
    with_mask,
    zero_point,
)
from tinyodl.ops.shared.rows import all_rows, held_rows, map_struct, row_for_row


def _quantize_rows(
    node: Node, graph: Graph, held: Mapping[str, int], first: Argument, end: Argument
) -> Call:
    (x,), (y, *mask) = node.inputs, node.outputs
    rows = held_rows((x, y), graph, held)
    output = output_struct(node, graph)
    operands = (Ref(x), Ref(y), Ref("".join(mask)))
    return Call(
        "quantize_linear_i8",
        (map_struct(y, graph), *rows, first, end, scale(y, graph), output, *operands),
    )


def _quantize_gradient(backward: Backward, node: Node, gy: str, *_: None) -> None:
    (x,) = node.inputs
    backward.add(x, through_mask(backward, node, gy))


def _dequantize_call(node: Node, graph: Graph) -> Call:
    (x,), (y,) = node.inputs, node.outputs
    numbers = (graph.tensor(x).size, scale(x, graph), zero_point(x, graph))
    return Call("dequantize_linear_i8", (*numbers, Ref(x), Ref(y)))


def _dequantize_gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    backward.add(x, gy)


def _mask_gradient_call(node: Node, graph: Graph) -> Call:
    gy, mask = node.inputs
    (gx,) = node.outputs
    return Call("mask_gradient_f32", (0, graph.tensor(gx).size, Ref(gy), Ref(mask), Ref(gx)))


def _mask_channels(
    node: Node, graph: Graph, planes: Collection[str], part: Argument, count: int
) -> Call:
    gy, mask = node.inputs
    (gx,) = node.outputs
    elements = count * prod(graph.shape(gx)[2:])
    return Call("mask_gradient_f32", (part, elements, Ref(gy), Ref(mask), Ref(gx)))


_KERNEL = "quantize_linear_i8.h"
register(
    Operator(
        "QuantizeLinear",
        all_rows(_quantize_rows),
        _KERNEL,
        same_shape,
        no_macs,
        _quantize_gradient,
        in_place=(0,),
        by_rows=row_for_row(_quantize_rows),
        saves=with_mask,
    )
)
register(
    Operator(
        "DequantizeLinear", _dequantize_call, _KERNEL, same_shape, no_macs, _dequantize_gradient
    )
)
register(
    Operator(
        "MaskGradient",
        _mask_gradient_call,
        "mask_gradient_f32.h",
        in_place=(0,),
        by_channels=lambda node, graph: ByChannels(mixes=False, call=_mask_channels),
    )
)
