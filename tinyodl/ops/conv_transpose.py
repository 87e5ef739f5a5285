"""ConvTranspose: the transposed convolution, computed by Conv's kernels in other roles.

    y[m, p * stride + k * dilation - pad] = b[m] + sum over c, k of w[c, m, k] * x[c, p]

Take the convolution from y's maps to x's with the same weight: y is its input gradient, for x as
its output gradient. So the gradient of x is this convolution of gy. The gradient of w is its weight
gradient, for gy as its input and x as its output gradient.

Attributes: strides (2), pads (top, left, bottom, right) cropped from y, dilations (2), group, size
(2): of y, which may reach beyond the last tap.
Inputs: x (1, C, H, W), w (C, M/group, KH, KW), b (M) or absent. Output: (1, M, OH, OW).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tinyodl.graph import Graph, Node
from tinyodl.ops.conv import geometry
from tinyodl.ops.shared import (
    Backward,
    Call,
    Layer,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    ShapeTuple,
    Unsupported,
    imports,
    register,
)
from tinyodl.ops.shared.windows import emit_on_image, spatial_input, steps


@imports(
    "ConvTranspose",
    becomes=("ConvTranspose", "Reshape"),
    covers="1 or 2 spatial axes; kernel_shape, strides, pads, auto_pad, dilations, group, "
    "output_padding, output_shape",
    limits="weights that are computed, 3 spatial axes, batches",
)
def conv_transpose(node: OnnxNode, scope: Scope) -> None:
    """ConvTranspose over 1 or 2 spatial axes; 1-D data and weights are images of height 1."""
    x = spatial_input(node, scope)
    weight = scope.floats(node, 1)
    bias = scope.floats(node, 2) if node.input(2) else None
    group = node.integer("group", 1)
    if weight.ndim != len(x.shape):
        raise Unsupported(f"its weight has the shape {weight.shape}", f"{len(x.shape)} dimensions")
    inputs, outputs, *kernel = weight.shape
    if group < 1 or inputs != x.shape[1] or inputs % group:
        raise Unsupported(
            f"a weight of shape {weight.shape} in {group} groups on {x.shape[1]} channels",
            "channels that divide evenly into the groups",
        )
    if node.integers("kernel_shape", kernel) != tuple(kernel):
        raise Unsupported(
            f"kernel_shape is {node.attrs['kernel_shape']}, its weight has {kernel}", "one kernel"
        )
    if bias is not None and bias.shape != (outputs * group,):
        raise Unsupported(f"its bias has the shape {bias.shape}", f"({outputs * group},)")
    attrs = _attributes(node, x.shape[2:], kernel)
    image = weight.reshape(inputs, outputs, *(1,) * (2 - len(kernel)), *kernel)
    w = scope.parameter(node, 1, image)
    b = scope.parameter(node, 2, bias) if bias is not None else ""
    emit_on_image(node, scope, "ConvTranspose", x, (w, b), {**attrs, "group": group})


def _attributes(node: OnnxNode, space: ShapeTuple, kernel: Sequence[int]) -> dict[str, Any]:
    """strides, dilations, pads and size in the IR's form."""
    rank = len(space)
    strides, dilations = steps(node, kernel)
    extra = node.integers("output_padding", (0,) * rank)
    if not all(0 <= e < max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise Unsupported(f"output_padding is {list(extra)}", "less than stride or dilation")
    if any(extra) and node.attrs.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        raise Unsupported("it has auto_pad SAME and output_padding", "one of the two")
    reach = [
        (n - 1) * s + (k - 1) * d + 1 + e
        for n, s, k, d, e in zip(space, strides, kernel, dilations, extra, strict=True)
    ]
    begins, sizes = _crop(node, reach, [n * s for n, s in zip(space, strides, strict=True)])
    ends = [max(r - b - size, 0) for r, b, size in zip(reach, begins, sizes, strict=True)]
    flat = (0,) * (2 - rank)  # on 1-D data
    return {
        "strides": (1,) * (2 - rank) + strides,
        "pads": (*flat, *begins, *flat, *ends),
        "dilations": (1,) * (2 - rank) + dilations,
        "size": ((1,) * (2 - rank)) + tuple(sizes),
    }


def _crop(
    node: OnnxNode, reach: Sequence[int], same: Sequence[int]
) -> tuple[Sequence[int], Sequence[int]]:
    """(elements cropped at the begin, elements left) of each axis.

    `reach` is the size made by all taps and output_padding, `same` the size for auto_pad SAME. An
    output_shape or `same` larger than the reach crops nothing; only output_shape is then filled.
    """
    rank = len(reach)
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"auto_pad is {auto!r}", "NOTSET, SAME_UPPER, SAME_LOWER, VALID")
    if "output_shape" in node.attrs:
        sizes = node.integers("output_shape", (0,) * rank)
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        sizes = tuple(min(r, size) for r, size in zip(reach, same, strict=True))
    else:
        pads = (0,) * (2 * rank) if auto == "VALID" else node.integers("pads", (0,) * (2 * rank))
        if min(pads) < 0:
            raise Unsupported(f"pads are {list(pads)}", "0 and more")
        begins, ends = pads[:rank], pads[rank:]
        return begins, [r - b - e for r, b, e in zip(reach, begins, ends, strict=True)]
    total = [max(r - size, 0) for r, size in zip(reach, sizes, strict=True)]
    if auto == "SAME_UPPER":
        return [crop // 2 for crop in total], sizes
    return [crop - crop // 2 for crop in total], sizes


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    x, w = shapes[0], shapes[1]
    return (x[0], w[1] * node.attrs["group"], *node.attrs["size"])


def _call(node: Node, graph: Graph) -> Call:
    x, w, b = node.inputs
    (y,) = node.outputs
    shape = geometry(node, graph.shape(y), graph.shape(w), graph.shape(x))
    return Call("conv_transpose_f32", (shape, Ref(x), Ref(w), Ref(b), Ref(y)))


def _macs(node: Node, graph: Graph) -> int:
    x, w = (graph.shape(name) for name in node.inputs[:2])
    return prod(x) * prod(w[1:])


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    x, w, b = node.inputs
    if backward.wants(x):
        backward.add(x, backward.emit("Conv", node, (gy, w, ""), like=x))
    if backward.wants(w):
        backward.learn("ConvWeightGradient", node, w, (x, gy))
    if b and backward.wants(b):
        backward.learn("ConvBiasGradient", node, b, (gy,))


register(
    Operator(
        "ConvTranspose",
        _call,
        "conv_transpose_f32.h",
        _shape,
        _macs,
        _gradient,
        layer=Layer(weights=(1,), biases=(2,)),
    )
)
