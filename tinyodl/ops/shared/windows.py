"""Sliding windows: strides, dilations, auto_pad and ceil_mode of Conv and the pools, resolved.

ONNX gives pads as all begins, then all ends: (top, left, bottom, right) in two dimensions, which is
also the IR's order. One-dimensional data (1, C, L) is seen as an image (1, C, 1, L).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyodl.graph import Tensor
from tinyodl.ops.shared.importer import OnnxNode, Unsupported
from tinyodl.ops.shared.scope import MAX_ELEMENTS, Scope

_MAX_STEP = 1 << 16


@dataclass(frozen=True)
class Windows:
    """Windows over two spatial axes, in the IR's form."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]  # top, left, bottom, right
    dilations: tuple[int, int]
    beyond: tuple[int, int] = (0, 0)  # how far the last windows reach past the pads: ceil_mode


@dataclass(frozen=True)
class _Axis:
    """Windows over one axis: `reach` is what one window spans, dilation included."""

    size: int
    kernel: int
    stride: int
    dilation: int

    @property
    def reach(self) -> int:
        return (self.kernel - 1) * self.dilation + 1


def windows(node: OnnxNode, space: Sequence[int], kernel: Sequence[int], pool: bool) -> Windows:
    """The windows of a Conv or pool over `space` (1 or 2 sizes)."""
    rank = len(space)
    strides, dilations = steps(node, kernel)
    axes = [_Axis(*each) for each in zip(space, kernel, strides, dilations, strict=True)]
    pads = _pads(node, axes)
    for axis, pair in zip(axes, pads, strict=True):
        if axis.size + sum(pair) < axis.reach:
            raise Unsupported(
                f"its window spans {axis.reach}, more than the padded input of "
                f"{axis.size + sum(pair)}",
                "windows that fit the input",
            )
    beyond = [0] * rank
    if pool:
        beyond = [_beyond(node, axis, pair) for axis, pair in zip(axes, pads, strict=True)]
    if rank == 1:
        axes, pads, beyond = [_Axis(1, 1, 1, 1), *axes], [(0, 0), *pads], [0, *beyond]
    (top, bottom), (left, right) = pads
    return Windows(
        (axes[0].kernel, axes[1].kernel),
        (axes[0].stride, axes[1].stride),
        (top, left, bottom, right),
        (axes[0].dilation, axes[1].dilation),
        (beyond[0], beyond[1]),
    )


def steps(node: OnnxNode, kernel: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(strides, dilations) for each axis of a kernel, all three within reason."""
    strides = node.integers("strides", (1,) * len(kernel))
    dilations = node.integers("dilations", (1,) * len(kernel))
    for name, values in (("kernel_shape", kernel), ("strides", strides), ("dilations", dilations)):
        if not all(0 < value <= _MAX_STEP for value in values):
            raise Unsupported(f"{name} is {list(values)}", f"1 to {_MAX_STEP}")
    return strides, dilations


def spatial_input(node: OnnxNode, scope: Scope, any_batch: bool = False) -> Tensor:
    """The input of a Conv or pool: (1, C, L) or (1, C, H, W), the batch larger if `any_batch`."""
    x = scope.activation(node, 0)
    if len(x.shape) not in (3, 4) or (x.shape[0] != 1 and not any_batch):
        raise Unsupported(f"its input has the shape {x.shape}", "(1, C, L) and (1, C, H, W)")
    return x


def emit_on_image(
    node: OnnxNode,
    scope: Scope,
    op: str,
    x: Tensor,
    constants: tuple[str, ...] = (),
    attrs: dict[str, object] | None = None,
) -> None:
    """Append `op` on (1, C, H, W) data, with views around it where the data is (1, C, L)."""
    output = node.outputs[0]
    if len(x.shape) == 4:
        scope.emit(op, node.name, (x.name, *constants), output, attrs)
        return
    image = scope.view(node, x.name, (*x.shape[:2], 1, x.shape[2]))
    y = scope.emit(op, node.name, (image, *constants), scope.fresh(f"{output}.image"), attrs)
    shape = scope.tensors[y].shape
    scope.view(node, y, (*shape[:2], shape[3]), output)


def _pads(node: OnnxNode, axes: Sequence[_Axis]) -> list[tuple[int, int]]:
    """(begin, end) of each axis."""
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto == "VALID":
        return [(0, 0)] * len(axes)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if any(axis.dilation > 1 for axis in axes):  # runtimes refuse it, or do not agree
            raise Unsupported(f"auto_pad is {auto} with dilations", "explicit pads with dilations")
        totals = [
            max((-(-axis.size // axis.stride) - 1) * axis.stride + axis.reach - axis.size, 0)
            for axis in axes
        ]
        smaller = [(total // 2, total - total // 2) for total in totals]
        return smaller if auto == "SAME_UPPER" else [(end, begin) for begin, end in smaller]
    if auto != "NOTSET":
        raise Unsupported(f"auto_pad is {auto!r}", "NOTSET, SAME_UPPER, SAME_LOWER, VALID")
    pads = node.integers("pads", (0,) * (2 * len(axes)))
    if not all(0 <= pad <= _MAX_STEP for pad in pads):
        raise Unsupported(f"pads are {list(pads)}", f"0 to {_MAX_STEP}")
    return list(zip(pads[: len(axes)], pads[len(axes) :], strict=True))


def _beyond(node: OnnxNode, axis: _Axis, pads: tuple[int, int]) -> int:
    """How far the last window of a pool reaches past the padded axis, as ceil_mode lets it.

    A window that would start past the input and the padding before it is dropped, as in onnxruntime
    and PyTorch. ONNX's shape inference agrees since opset 22.
    """
    begin, end = pads
    if max(pads) >= axis.kernel:
        raise Unsupported(
            f"its padding of {max(pads)} is not smaller than the kernel of {axis.kernel}",
            "padding smaller than the kernel",
        )
    beyond = 0
    if node.integer("ceil_mode", 0):
        beyond = -(axis.size + begin + end - axis.reach) % axis.stride
        if axis.size + begin + end + beyond - axis.reach >= axis.size + begin:
            if beyond and node.opset < 22:
                raise Unsupported(
                    "ceil_mode makes a window that starts beyond the input; runtimes drop it, "
                    "against the text of this opset",
                    "windows that touch the input, or opset 22",
                )
            beyond = 0
    if axis.dilation > 1 and not _all_touch(axis, begin, end + beyond):
        raise Unsupported("some of its windows hold nothing but padding", "windows that touch it")
    return beyond


def _all_touch(axis: _Axis, begin: int, end: int) -> bool:
    """Whether every dilated window holds at least one element of the input."""
    starts = range(-begin, axis.size + end - axis.reach + 1, axis.stride)
    if len(starts) * axis.kernel > MAX_ELEMENTS >> 4:
        return False
    return all(
        any(0 <= start + tap * axis.dilation < axis.size for tap in range(axis.kernel))
        for start in starts
    )
