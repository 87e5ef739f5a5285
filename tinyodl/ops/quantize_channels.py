"""QuantizeChannels and DequantizeChannels: between float32 and int8 with a scale for each channel.

    QuantizeChannels    y[c] = clamp(round(x[c] / scales[c]) + zero_point, low, high)
    DequantizeChannels  y[c] = scales[c] * (x[c] - zero_point)

Maps are (1, C, ...). The gradient of the int8 tensor is with respect to its real values, as that of
QuantizeLinear. Inputs: x, scales float32 (C). Attributes of QuantizeChannels: low, high, pass_low,
pass_high (`Bounds`).
"""

from __future__ import annotations

from math import prod

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    Operator,
    Ref,
    ShapeTuple,
    no_macs,
    register,
)
from tinyodl.ops.shared.quantization import output_struct, through_mask, with_mask, zero_point


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> tuple[ShapeTuple, ...]:
    every = (shapes[0], (-(-prod(shapes[0]) // 8),))
    return every[: len(node.outputs)]


def _quantize_call(node: Node, graph: Graph) -> Call:
    (x, scales), (y, *mask) = node.inputs, node.outputs
    shape = graph.shape(y)
    operands = (Ref(scales), Ref(x), Ref(y), Ref("".join(mask)))
    numbers = (shape[1], prod(shape[2:]), output_struct(node, graph))
    return Call("quantize_channels_i8", (*numbers, *operands))


def _quantize_gradient(backward: Backward, node: Node, gy: str, *_: None) -> None:
    backward.add(node.inputs[0], through_mask(backward, node, gy))


def _dequantize_call(node: Node, graph: Graph) -> Call:
    (x, scales), (y,) = node.inputs, node.outputs
    shape = graph.shape(y)
    numbers = (shape[1], prod(shape[2:]), zero_point(x, graph))
    return Call("dequantize_channels_i8", (*numbers, Ref(scales), Ref(x), Ref(y)))


def _dequantize_gradient(backward: Backward, node: Node, gy: str) -> None:
    backward.add(node.inputs[0], gy)


_KERNEL = "quantize_channels_i8.h"
register(
    Operator(
        "QuantizeChannels",
        _quantize_call,
        _KERNEL,
        _shape,
        no_macs,
        _quantize_gradient,
        saves=with_mask,
    )
)
register(
    Operator("DequantizeChannels", _dequantize_call, _KERNEL, _shape, no_macs, _dequantize_gradient)
)
