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
input channels that the weight gradient reads, in the order of w; scratch (H * W): one plane of x,
with which a depthwise layer can be computed in place. Absent ones have the shape ().
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from tinyodl.graph import Graph, Node
from tinyodl.ops.conv import geometry
from tinyodl.ops.shared import (
    Argument,
    ByRows,
    Call,
    Layer,
    Operator,
    Ref,
    ShapeTuple,
    Struct,
    register,
)
from tinyodl.ops.shared.quantization import output_struct, zero_point
from tinyodl.ops.shared.rows import held_rows


def _inputs(node: Node) -> tuple[str, ...]:
    """(x, w, b, multiplier, delta, rest, order), "" for those that are absent."""
    return (*node.inputs, *[""] * 7)[:7]


def _outputs(node: Node) -> tuple[str, ...]:
    """(y, mask, saved, scratch), "" for those that are absent."""
    return (*node.outputs, *[""] * 4)[:4]


def _orders(node: Node, order: str) -> tuple[Ref, Ref]:
    """The order of the output channels and that of the input channels."""
    split = node.attrs.get("split")
    return Ref(order if split == "outputs" else ""), Ref(order if split == "inputs" else "")


def _is_depthwise(node: Node, x: ShapeTuple, y: ShapeTuple) -> bool:
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
    every = (y, (-(-prod(y) // 8),), saved, (prod(x[2:]),))
    wanted = node.outputs or ("y",)
    return tuple(shape if name else () for shape, name in zip(every, wanted, strict=False))


def _struct(node: Node, x: ShapeTuple, w: ShapeTuple, y: ShapeTuple) -> Struct:
    """The convolution from maps x to maps y, with w as it lies there, as the kernels take it."""
    fields = geometry(node, x, w, y).fields
    return Struct("qlinear_conv_shape", (*fields, ("filters", w[0]), ("columns", w[1])))


def _fewest_rows(
    node: Node, x: ShapeTuple, w: ShapeTuple, y: ShapeTuple
) -> tuple[ShapeTuple, ShapeTuple]:
    """The maps x and y as the kernels see them whole: as one row, for a pointwise convolution."""
    if w[2:] != (1, 1) or tuple(node.attrs["strides"]) != (1, 1) or any(node.attrs["pads"]):
        return x, y
    return (*x[:2], 1, prod(x[2:])), (*y[:2], 1, prod(y[2:]))


def _macs(y: ShapeTuple, w: ShapeTuple, x: ShapeTuple, group: int) -> int:
    return prod(y) * x[1] // group * prod(w[2:])


def _forward_macs(node: Node, graph: Graph) -> int:
    x, w, y = (graph.shape(name) for name in (*node.inputs[:2], node.outputs[0]))
    return _macs(y, w, x, node.attrs["group"])


def _forward_call(node: Node, graph: Graph) -> tuple[Call, ...]:
    name, w, order = node.inputs[0], graph.shape(node.inputs[1]), _inputs(node)[6]
    x, y = _fewest_rows(node, graph.shape(name), w, graph.shape(node.outputs[0]))
    made = _call(node, graph, _struct(node, x, w, y), (x[2], y[2], 0, y[2]))
    saved = _outputs(node)[2]
    if not saved:
        return (made,)
    _, channels, *plane = graph.shape(saved)
    copied = (channels, prod(plane), Ref(order), Ref(name), Ref(saved))
    return Call("save_channels_i8", copied), made


def _rows_call(
    node: Node, graph: Graph, held: Mapping[str, int], first: Argument, end: Argument
) -> Call:
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    shape = _struct(node, graph.shape(x), graph.shape(w), graph.shape(y))
    return _call(node, graph, shape, (*held_rows((x, y), graph, held), first, end), in_place=False)


def _call(
    node: Node, graph: Graph, shape: Struct, rows: tuple[Argument, ...], in_place: bool = True
) -> Call:
    """The call with (rows of x, rows of y, first, end) of the buffers; unless `in_place`, x and y
    are known to be different ones."""
    x, w, b, multiplier, delta, rest, order = _inputs(node)
    y, mask, _, scratch = _outputs(node)
    constants = (Ref(w), Ref(b), Ref(multiplier), Ref(delta), Ref(rest), *_orders(node, order))
    made = (Ref(y), Ref(mask), Ref(scratch if in_place else ""))
    numbers = (zero_point(x, graph), output_struct(node, graph))
    return Call("qlinear_conv_i8", (shape, *rows, *numbers, Ref(x), *constants, *made))


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
    """Depthwise, plane by plane. Smaller maps of y only in the order of the channels."""
    x, y = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    ordered = not _inputs(node)[6]
    fits = prod(y) == prod(x) or (ordered and prod(y) < prod(x))
    return (0,) if _outputs(node)[3] and _is_depthwise(node, x, y) and fits else ()


register(
    Operator(
        "QLinearConv",
        shape=_shapes,
        macs=_forward_macs,
        call=_forward_call,
        kernel="qlinear_conv_i8.h",
        in_place=_in_place,
        layer=Layer(weights=(1,), biases=(2,)),
        by_rows=ByRows(_needs, _frees, _rows_call),
    )
)
