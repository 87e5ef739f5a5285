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
    strides = node.integers("strides", (1,) * rank)
    dilations = node.integers("dilations", (1,) * rank)
    for name, values in (("kernel_shape", kernel), ("strides", strides), ("dilations", dilations)):
        if not all(0 < value <= _MAX_STEP for value in values):
            raise Unsupported(f"{name} is {list(values)}", f"1 to {_MAX_STEP}")
    axes = [_Axis(*each) for each in zip(space, kernel, strides, dilations, strict=True)]
    pads = _pads(node, axes)
    if pool:
        pads = [_pool_pads(node, axis, pair) for axis, pair in zip(axes, pads, strict=True)]
    for axis, pair in zip(axes, pads, strict=True):
        if axis.size + sum(pair) < axis.reach:
            raise Unsupported(
                f"its window spans {axis.reach}, more than the padded input of "
                f"{axis.size + sum(pair)}",
                "windows that fit the input",
            )
    if rank == 1:
        axes, pads = [_Axis(1, 1, 1, 1), *axes], [(0, 0), *pads]
    (top, bottom), (left, right) = pads
    return Windows(
        (axes[0].kernel, axes[1].kernel),
        (axes[0].stride, axes[1].stride),
        (top, left, bottom, right),
        (axes[0].dilation, axes[1].dilation),
    )


def spatial_input(node: OnnxNode, scope: Scope) -> Tensor:
    """The input of a Conv or pool: (1, C, L) or (1, C, H, W)."""
    x = scope.activation(node, 0)
    if len(x.shape) not in (3, 4) or x.shape[0] != 1:
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


def _pool_pads(node: OnnxNode, axis: _Axis, pads: tuple[int, int]) -> tuple[int, int]:
    """The pads of a pool with ceil_mode turned into padding, where that is the same.

    A maximum ignores padding, and so does a mean that does not count it. A mean that counts the
    padding must not count what ceil_mode adds. Windows that start beyond the input are counted by
    some versions of ONNX and not by others.
    """
    begin, end = pads
    if node.integer("ceil_mode", 0):
        beyond = -(axis.size + begin + end - axis.reach) % axis.stride
        last = axis.size + begin + end + beyond - axis.reach
        if beyond and node.op == "AveragePool" and node.integer("count_include_pad", 0):
            raise Unsupported(
                "ceil_mode with count_include_pad needs windows beyond the padding",
                "ceil_mode where the windows fit, or without count_include_pad",
            )
        if beyond and last >= axis.size + begin:
            raise Unsupported(
                "ceil_mode makes a window that starts beyond the input", "windows that touch it"
            )
        end += beyond
    if max(begin, end) >= axis.kernel:
        raise Unsupported(
            f"its padding of {max(begin, end)} is not smaller than the kernel of {axis.kernel}",
            "padding smaller than the kernel",
        )
    if axis.dilation > 1 and not _all_touch(axis, begin, end):
        raise Unsupported("some of its windows hold nothing but padding", "windows that touch it")
    return begin, end


def _all_touch(axis: _Axis, begin: int, end: int) -> bool:
    """Whether every dilated window holds at least one element of the input."""
    starts = range(-begin, axis.size + end - axis.reach + 1, axis.stride)
    if len(starts) * axis.kernel > MAX_ELEMENTS >> 4:
        return False
    return all(
        any(0 <= start + tap * axis.dilation < axis.size for tap in range(axis.kernel))
        for start in starts
    )
