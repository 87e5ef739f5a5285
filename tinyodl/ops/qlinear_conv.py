"""QLinearConv: convolution of int8 maps, with groups (depthwise included), and dense layers as 1x1.

    sum[m, p] = b[m] + sum over c, k of
                w[m, c, k] * (x[c, p * stride + k * dilation - pad] - x_zero_point)
    v         = sum * multiplier[m] + delta[m] / 256
    y         = clamp(round(v) + zero_point, low, high)

with c in the group of m. Attributes: strides (2), pads (top, left, bottom, right), dilations (2),
group, low, high, pass_low, pass_high (`Bounds`), split.
Inputs: x int8 (1, C, H, W), w int8 (M, C/group, KH, KW), b int32 (M) or absent, multiplier (M), and
where it learns delta int16 (M), the change of the bias in 1/256 of a step of y. Where only some
channels learn, w holds theirs, `rest` the others, and uint16 `order` says which channels the
filters (split "outputs", order (M)) or columns (split "inputs", order (C)) of w, then rest, are.
Outputs: y (1, M, OH, OW); mask: a bit per element of y, whether the gradient passes; saved: the n
input channels that the weight gradient reads, in the order of w; scratch, int16: where the kernel
lays out what it reads (`scratch_size`). Absent ones have the shape ().
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from tinyodl.graph import Graph, Node
from tinyodl.ops.conv import geometry
from tinyodl.ops.shared import (
    Argument,
    Backward,
    ByRows,
    Call,
    Layer,
    Operator,
    Ref,
    ShapeTuple,
    Struct,
    register,
)
from tinyodl.ops.shared.candidate import INPUTS, PLAN, POOL, chosen, number_of, order_name
from tinyodl.ops.shared.int8_columns import is_dense, scratch_size, strip_rows
from tinyodl.ops.shared.int8_learning import convolution_learns, convolution_saves
from tinyodl.ops.shared.quantization import output_struct, through_mask, zero_point
from tinyodl.ops.shared.rows import held_rows


class _Inputs(NamedTuple):
    """The names of the inputs, "" for absent ones."""

    x: str
    w: str
    b: str
    multiplier: str
    delta: str
    rest: str
    order: str

    @classmethod
    def of(cls, node: Node) -> _Inputs:
        return cls(*(*node.inputs, *[""] * 7)[:7])


class _Outputs(NamedTuple):
    """The names of the outputs, "" for absent ones."""

    y: str
    mask: str
    saved: str
    scratch: str

    @classmethod
    def of(cls, node: Node) -> _Outputs:
        return cls(*(*node.outputs, *[""] * 4)[:4])


def channel_orders(node: Node, order: str) -> tuple[Ref, Ref]:
    """The order of the output channels, and the order of the input channels."""
    split = node.attrs.get("split")
    if number_of(node) is not None:
        order = order_name(node)
    return Ref(order if split == "outputs" else ""), Ref(order if split == "inputs" else "")


def is_depthwise(node: Node, x: ShapeTuple, y: ShapeTuple) -> bool:
    return bool(node.attrs["group"] == x[1] == y[1])


def _shapes(node: Node, shapes: tuple[ShapeTuple, ...]) -> tuple[ShapeTuple, ...]:
    x, w, *_ = shapes
    rest = shapes[5] if len(shapes) > 5 else ()
    split = node.attrs.get("split")
    channels = w[0] + (rest[0] if rest and split == "outputs" else 0)
    top, left, bottom, right = node.attrs["pads"]
    sizes = []
    for axis, padding in ((0, top + bottom), (1, left + right)):
        reach = (w[2 + axis] - 1) * node.attrs["dilations"][axis] + 1
        sizes.append((x[2 + axis] + padding - reach) // node.attrs["strides"][axis] + 1)
    y = (x[0], channels, *sizes)
    saved = (x[0], w[1] if split == "inputs" else w[0], *x[2:])
    every = (y, (-(-prod(y) // 8),), saved, (scratch_size(node.attrs, x, w, y),))
    wanted = node.outputs or ("y",)
    return tuple(shape if name else () for shape, name in zip(every, wanted, strict=False))


def conv_struct(node: Node, x: ShapeTuple, w: ShapeTuple, y: ShapeTuple) -> Struct:
    """The convolution from maps x to maps y, with w as it lies there, as the kernels take it."""
    fields = geometry(node, x, w, y).fields
    return Struct("qlinear_conv_shape", (*fields, ("filters", w[0]), ("columns", w[1])))


def fewest_rows(
    node: Node, x: ShapeTuple, w: ShapeTuple, y: ShapeTuple
) -> tuple[ShapeTuple, ShapeTuple]:
    """The maps x and y where they are there as a whole: a pointwise one sees them as one row."""
    if not _is_pointwise(node, w):
        return x, y
    return (*x[:2], 1, prod(x[2:])), (*y[:2], 1, prod(y[2:]))


def _is_pointwise(node: Node, w: ShapeTuple) -> bool:
    """Whether each output is made of the pixel at its own place."""
    alone = tuple(node.attrs["strides"]) == (1, 1) and not any(node.attrs["pads"])
    return w[2:] == (1, 1) and alone


def conv_macs(node: Node, graph: Graph, x: str, w: str, y: str) -> int:
    """MACs of a convolution from maps like x to maps like y; its input gradient takes the same."""
    in_group: int = graph.shape(x)[1] // node.attrs["group"]
    return graph.tensor(y).size * in_group * prod(graph.shape(w)[2:])


def _forward_call(node: Node, graph: Graph) -> tuple[Call, ...]:
    name, saved, w = node.inputs[0], _Outputs.of(node).saved, graph.shape(node.inputs[1])
    x, y = fewest_rows(node, graph.shape(name), w, graph.shape(node.outputs[0]))
    made = _call(node, graph, (x, w, y), (x[2], y[2], 0, y[2]))
    if not saved:
        return (made,)
    _, channels, *plane = graph.shape(saved)
    copied = (channels, prod(plane), Ref(_Inputs.of(node).order), Ref(name), Ref(saved))
    return Call("save_channels_i8", copied), made


def _rows_call(
    node: Node, graph: Graph, held: Mapping[str, int], first: Argument, end: Argument
) -> Call:
    names = node.inputs[0], node.inputs[1], node.outputs[0]
    x, w, y = (graph.shape(name) for name in names)
    rows = held_rows((names[0], names[2]), graph, held)
    return _call(node, graph, (x, w, y), (*rows, first, end))


def _call(
    node: Node,
    graph: Graph,
    shapes: tuple[ShapeTuple, ShapeTuple, ShapeTuple],
    rows: tuple[Argument, ...],
) -> Call:
    """The call for maps x, weights and maps y of these `shapes`, on buffers of `rows`.

    These are the rows of x, of y, then first and end.
    """
    of, made = _Inputs.of(node), _Outputs.of(node)
    x, w, y = shapes
    numbers = (
        conv_struct(node, x, w, y),
        *rows,
        zero_point(of.x, graph),
        output_struct(node, graph),
    )
    outputs = (Ref(made.y), Ref(made.mask, node.attrs.get("needed", 0)), Ref(made.scratch))
    operands = (Ref(of.x), *_constants(node, of), *outputs)
    family = "qlinear" if number_of(node) is None else "chosen"
    if is_depthwise(node, x, y):
        return Call(f"{family}_depthwise_i8", (*numbers, *operands, strip_rows(y)))
    kernel = "dense" if is_dense(node.attrs, x, w) else "conv"
    return Call(f"{family}_{kernel}_i8", (*numbers, *operands))


def _constants(node: Node, of: _Inputs) -> tuple[Argument, ...]:
    """Weights, bias and their order as the kernels take them."""
    number = number_of(node)
    if number is not None:
        delta = Ref(of.delta, 1 << number)
        return (chosen(node), Ref(of.b), Ref(of.multiplier), delta, Ref(of.w))
    constants = (Ref(of.w), Ref(of.b), Ref(of.multiplier), Ref(of.delta), Ref(of.rest))
    return (*constants, *channel_orders(node, of.order))


def _needs(node: Node, graph: Graph, n: int) -> int:
    """The rows down to the last one under the taps of output row n - 1."""
    reach = (graph.shape(node.inputs[1])[2] - 1) * node.attrs["dilations"][0]
    return _on_map(node, graph, _top(node, n - 1) + reach + 1)


def _frees(node: Node, graph: Graph, n: int) -> int:
    """The rows above the taps of output row n; all where there is none."""
    if n >= graph.shape(node.outputs[0])[2]:
        return graph.shape(node.inputs[0])[2]
    return _on_map(node, graph, _top(node, n))


def _top(node: Node, row: int) -> int:
    top: int = row * node.attrs["strides"][0] - node.attrs["pads"][0]
    return top


def _on_map(node: Node, graph: Graph, row: int) -> int:
    return min(max(row, 0), graph.shape(node.inputs[0])[2])


def _in_place(node: Node, graph: Graph) -> tuple[int, ...]:
    """Pointwise, if y has no more channels than x; depthwise, if no row is overwritten early."""
    x, w, y = (graph.shape(name) for name in (*node.inputs[:2], node.outputs[0]))
    if is_depthwise(node, x, y):
        fits = _is_depthwise_in_place(node, graph)
    else:
        fits = _is_pointwise(node, w) and y[1] <= x[1] and not is_dense(node.attrs, x, w)
    return (0,) if fits else ()


def _is_depthwise_in_place(node: Node, graph: Graph) -> bool:
    """No row of y is written over one of x that is still read.

    Smaller maps of y only in the order of the channels.
    """
    x, y = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    if _Inputs.of(node).order and prod(x) != prod(y):
        return False
    rows = range(1, y[2] + 1)
    return prod(y) <= prod(x) and all(n * y[3] <= _needs(node, graph, n) * x[3] for n in rows)


def _gradient(backward: Backward, node: Node, gy: str, *_: None) -> None:
    of, saved, attrs = _Inputs.of(node), _Outputs.of(node).saved, node.attrs
    gy = through_mask(backward, node, gy)
    if backward.wants(of.delta):  # first: then the input's gradient may take the memory of gy
        backward.learn("QLinearConvBiasGradient", node, of.delta, (gy, attrs["delta_factor"]))
    if backward.wants(of.x):
        backward.add(of.x, _input_gradient(backward, node, gy))
    if number_of(node) is not None:
        x = backward.graph.tensor(of.x)
        alone = is_depthwise(node, x.shape, backward.graph.shape(node.outputs[0]))
        zero = zero_point(of.x, backward.graph)
        attrs = {**attrs, "saved": alone, "map": x.shape[2:], "zero_point": zero}
        read = (gy, INPUTS, attrs["factor"], PLAN, of.w)
        backward.learn("QLinearConvWeightGradient", node, POOL, read, attrs)
    elif backward.wants(of.w):
        inputs = (gy, saved or of.x, attrs["factor"], of.order)
        attrs = {**attrs, "saved": bool(saved)}
        backward.learn("QLinearConvWeightGradient", node, of.w, inputs, attrs)


def _input_gradient(backward: Backward, node: Node, gy: str) -> str:
    """The gradient of x; through one plane where it can be computed in place."""
    of = _Inputs.of(node)
    x, y = backward.graph.shape(of.x), backward.graph.shape(node.outputs[0])
    inputs = (gy, of.w, node.attrs["weight_scale"], of.rest, of.order)  # order: PLAN of a candidate
    plane = [(prod(y[2:]),)] if is_depthwise(node, x, y) and x == y else []
    return backward.emit_several("QLinearConvInputGradient", node, inputs, (of.x, *plane))[0]


register(
    Operator(
        "QLinearConv",
        shape=_shapes,
        macs=lambda n, g: conv_macs(n, g, n.inputs[0], n.inputs[1], n.outputs[0]),
        call=_forward_call,
        kernel="qlinear_conv_i8.h",
        gradient=_gradient,
        in_place=_in_place,
        layer=Layer(weights=(1,), biases=(2,)),
        by_rows=ByRows(_needs, _frees, _rows_call),
        learns=convolution_learns,
        saves=convolution_saves,
    )
)
