"""Pad: more elements at the ends of axes, or fewer for negative pads.

    y[i] = x[i - begin] where that exists, else value
    gx = the part of gy that came from x: Pad with the opposite pads and value 0

Attributes: pads (all begins, then all ends, in elements), value. The modes that repeat elements of
the input (reflect, edge, wrap) become a Gather for each padded axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyodl.graph import Graph, Node
from tinyodl.ops.gather import gather_along
from tinyodl.ops.shared import (
    MAX_ELEMENTS,
    Backward,
    Call,
    OnnxNode,
    Operator,
    Scope,
    ShapeTuple,
    Unsupported,
    from_the_front,
    imports,
    no_macs,
    register,
)
from tinyodl.ops.shared.strides import check_axes, copy_call, fill_call, region

_REPEATING = ("reflect", "edge", "wrap")


@imports(
    "Pad",
    becomes=("Pad", "Gather", "Slice", "Identity"),
    covers="modes constant, reflect, edge and wrap; axes; negative pads",
    limits="pads or a value that are computed; pads that remove all elements; "
    "more than 6 dimensions larger than 1",
)
def pad(node: OnnxNode, scope: Scope) -> None:
    """Pad with constant pads: attributes before opset 11, then inputs."""
    x = scope.activation(node, 0)
    begins, ends = _pads(node, scope, len(x.shape))
    mode = node.attrs.get("mode", "constant")
    if mode not in ("constant", *_REPEATING):
        raise Unsupported(f"mode is {mode!r}", "constant, " + ", ".join(_REPEATING))
    if not any((*begins, *ends)):
        scope.emit("Identity", node.name, (x.name,), node.outputs[0])
        return
    if mode == "constant":
        check_axes(tuple(n + b + e for n, b, e in zip(x.shape, begins, ends, strict=True)))
        attrs = {"pads": (*begins, *ends), "value": _value(node, scope)}
        scope.emit("Pad", node.name, (x.name,), node.outputs[0], attrs)
        return
    padded = [axis for axis, pads in enumerate(zip(begins, ends, strict=True)) if any(pads)]
    seen = x.name
    for axis in padded:
        indices = _repeated(x.shape[axis], begins[axis], ends[axis], mode)
        last = axis == padded[-1]
        output = node.outputs[0] if last else scope.fresh(f"{node.outputs[0]}.axis{axis}")
        seen = gather_along(node, scope, seen, axis, indices, output)


def _pads(node: OnnxNode, scope: Scope, rank: int) -> tuple[list[int], list[int]]:
    """(begins, ends) of all axes."""
    if node.opset < 11:
        pads = node.integers("pads", node.attrs.get("pads", ()))
    else:
        pads = scope.integers(node, 1)
    axes = from_the_front(scope.integers(node, 3) if node.input(3) else range(rank), rank)
    if len(pads) != 2 * len(axes) or not all(abs(size) <= MAX_ELEMENTS for size in pads):
        raise Unsupported(f"pads are {list(pads)} for {len(axes)} axes", "two for each axis")
    begins, ends = [0] * rank, [0] * rank
    for axis, begin, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        begins[axis], ends[axis] = begin, end
    return begins, ends


def _value(node: OnnxNode, scope: Scope) -> float:
    if node.opset < 11:
        return node.number("value", 0.0)
    value = scope.optional(node, 2)
    if value is None:
        return 0.0
    if value.size != 1 or value.dtype != np.float32 or np.isnan(value).any():
        raise Unsupported(f"its value is {value.dtype} of shape {value.shape}", "one float32")
    return float(value.reshape(()))


def _repeated(size: int, begin: int, end: int, mode: str) -> Sequence[int]:
    """The index in the input of each element of a padded axis; cropped first, then padded."""
    kept = np.arange(size)[max(-begin, 0) : size - max(-end, 0)]
    if not kept.size:
        raise Unsupported(f"its pads leave nothing of {size} elements", "pads that keep some")
    extra = (max(begin, 0), max(end, 0))
    if mode == "reflect" and max(extra) >= kept.size:
        raise Unsupported(
            f"it reflects {max(extra)} of {kept.size} elements", f"up to {kept.size - 1}"
        )
    if mode == "reflect":
        padded = np.pad(kept, extra, mode="reflect")
    else:
        padded = np.pad(kept, extra, mode="edge" if mode == "edge" else "wrap")
    return [int(index) for index in padded]


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    (x,), pads = shapes, node.attrs["pads"]
    ends = pads[len(x) :]
    return tuple(size + begin + end for size, begin, end in zip(x, pads, ends, strict=False))


def _calls(node: Node, graph: Graph) -> tuple[Call, ...]:
    (x,), (y,) = node.inputs, node.outputs
    given, made = graph.shape(x), graph.shape(y)
    begins = node.attrs["pads"][: len(given)]
    at = [max(-begin, 0) for begin in begins]
    to = [max(begin, 0) for begin in begins]
    block = tuple(
        max(min(size - first, whole - start), 0)
        for size, whole, first, start in zip(given, made, at, to, strict=True)
    )
    calls = []
    if block != made:
        calls.append(fill_call(graph.tensor(y).size, node.attrs["value"], y))
    if all(block):
        calls.append(copy_call(block, x, region(given, at), y, region(made, to)))
    return tuple(calls)


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    (x,) = node.inputs
    attrs = {"pads": tuple(-size for size in node.attrs["pads"]), "value": 0.0}
    backward.add(x, backward.emit("Pad", node, (gy,), like=x, attrs=attrs))


register(Operator("Pad", _calls, "copy_f32.h", _shape, no_macs, _gradient))
