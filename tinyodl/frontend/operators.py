"""The table of ONNX operators that can be imported, and the importers of those without weights.

An importer takes the node and the `Scope`, and appends the IR nodes that compute the same. It
raises `Unsupported` for what it cannot express.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod

import numpy as np

from tinyodl.frontend import layers
from tinyodl.frontend.problems import Unsupported
from tinyodl.frontend.scope import IDENTITY, OnnxNode, Scope
from tinyodl.frontend.windows import windows

Importer = Callable[[OnnxNode, Scope], None]


def relu(node: OnnxNode, scope: Scope) -> None:
    """Relu."""
    scope.emit("Relu", node.name, (scope.activation(node, 0).name,), node.outputs[0])


def clip(node: OnnxNode, scope: Scope) -> None:
    """Clip with constant bounds; without bounds it disappears."""
    x = scope.activation(node, 0)
    low, high = _bound(node, scope, 1, -math.inf), _bound(node, scope, 2, math.inf)
    if not low <= high:
        raise Unsupported(f"min is {low} and max is {high}", "min <= max")
    if math.isinf(low) and math.isinf(high):
        scope.emit(IDENTITY, node.name, (x.name,), node.outputs[0])
        return
    scope.emit("Clip", node.name, (x.name,), node.outputs[0], {"min": low, "max": high})


def _bound(node: OnnxNode, scope: Scope, slot: int, default: float) -> float:
    value = scope.optional(node, slot)
    if value is None:
        return default
    if value.size != 1 or value.dtype != np.float32:
        raise Unsupported(f"a bound is {value.dtype} of shape {value.shape}", "one float32")
    return float(value.reshape(()))


def identity(node: OnnxNode, scope: Scope) -> None:
    """Identity."""
    scope.emit(IDENTITY, node.name, (scope.activation(node, 0).name,), node.outputs[0])


def dropout(node: OnnxNode, scope: Scope) -> None:
    """Dropout in inference: the same as Identity."""
    x = scope.activation(node, 0)
    training = scope.optional(node, 2)
    if training is not None and training.any():
        raise Unsupported("training_mode is true", "inference")
    if any(name in scope.read for name in node.outputs[1:] if name):
        raise Unsupported("its mask is used", "its first output only")
    scope.emit(IDENTITY, node.name, (x.name,), node.outputs[0])


def max_pool(node: OnnxNode, scope: Scope) -> None:
    """MaxPool over 1 or 2 spatial dimensions."""
    x = layers.spatial_input(node, scope)
    if any(name in scope.read for name in node.outputs[1:] if name):
        raise Unsupported("its indices are used", "its first output only")
    over = windows(node, x.shape[2:], _kernel(node, len(x.shape) - 2), pool=True)
    attrs = {
        "kernel": over.kernel,
        "strides": over.strides,
        "pads": over.pads,
        "dilations": over.dilations,
    }
    layers.emit_on_image(node, scope, "MaxPool", x, attrs=dict(attrs))


def average_pool(node: OnnxNode, scope: Scope) -> None:
    """AveragePool over 1 or 2 spatial dimensions."""
    x = layers.spatial_input(node, scope)
    over = windows(node, x.shape[2:], _kernel(node, len(x.shape) - 2), pool=True)
    if over.dilations != (1, 1):
        raise Unsupported(f"dilations are {node.attrs['dilations']}", "1")
    attrs = {
        "kernel": over.kernel,
        "strides": over.strides,
        "pads": over.pads,
        "count_include_pad": int(any(over.pads) and node.integer("count_include_pad", 0) != 0),
    }
    layers.emit_on_image(node, scope, "AveragePool", x, attrs=dict(attrs))


def _kernel(node: OnnxNode, rank: int) -> tuple[int, ...]:
    if "kernel_shape" not in node.attrs:
        raise Unsupported("it has no kernel_shape", "a kernel_shape")
    return node.integers("kernel_shape", (1,) * rank)


def global_average_pool(node: OnnxNode, scope: Scope) -> None:
    """GlobalAveragePool over 1 or 2 spatial dimensions."""
    layers.emit_on_image(node, scope, "GlobalAveragePool", layers.spatial_input(node, scope))


def reduce_mean(node: OnnxNode, scope: Scope) -> None:
    """ReduceMean over exactly the spatial axes: GlobalAveragePool and a view.

    Axes of size 1 may be named or not, they change nothing.
    """
    x = scope.activation(node, 0)
    rank = len(x.shape)
    axes = _axes(node, scope, rank, since_input=18)
    if axes is None:
        if node.integer("noop_with_empty_axes", 0):
            scope.emit(IDENTITY, node.name, (x.name,), node.outputs[0])
            return
        axes = tuple(range(rank))
    reduced = {axis for axis in axes if x.shape[axis] > 1}
    spatial = {axis for axis in range(2, rank) if x.shape[axis] > 1}
    if rank not in (3, 4) or x.shape[0] != 1 or reduced != spatial:
        raise Unsupported(
            f"it reduces the axes {sorted(axes)} of {x.shape}", "the spatial axes of (1, C, H, W)"
        )
    if node.integer("keepdims", 1):
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    else:
        shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    image = scope.view(node, x.name, (*x.shape[:2], *((1,) * (4 - rank)), *x.shape[2:]))
    mean = scope.fresh(f"{node.outputs[0]}.mean")
    scope.emit("GlobalAveragePool", node.name, (image,), mean)
    scope.view(node, mean, shape, node.outputs[0])


def flatten(node: OnnxNode, scope: Scope) -> None:
    """Flatten: a view with two dimensions."""
    x = scope.activation(node, 0)
    axis = node.integer("axis", 1)
    if not -len(x.shape) <= axis <= len(x.shape):
        raise Unsupported(f"axis is {axis} for {x.shape}", "an axis of its input")
    axis = axis + len(x.shape) if axis < 0 else axis
    shape = (prod(x.shape[:axis]), prod(x.shape[axis:]))
    scope.reshape(node.name, x.name, shape, node.outputs[0])


def reshape(node: OnnxNode, scope: Scope) -> None:
    """Reshape to a constant shape: a view."""
    x = scope.activation(node, 0)
    target = [int(size) for size in scope.constant(node, 1).reshape(-1)]
    if not node.integer("allowzero", 0):
        if 0 in target[len(x.shape) :]:
            raise Unsupported(f"it copies a dimension that {x.shape} does not have", "a shape")
        target = [size or x.shape[axis] for axis, size in enumerate(target[: len(x.shape)])] + (
            target[len(x.shape) :]
        )
    if target.count(-1) == 1:
        rest = prod(size for size in target if size != -1)
        if rest > 0 and x.size % rest == 0:
            target[target.index(-1)] = x.size // rest
    scope.reshape(node.name, x.name, target, node.outputs[0])


def squeeze(node: OnnxNode, scope: Scope) -> None:
    """Squeeze: a view without some dimensions of size 1."""
    x = scope.activation(node, 0)
    axes = _axes(node, scope, len(x.shape), since_input=13)
    if axes is None:
        axes = tuple(axis for axis, size in enumerate(x.shape) if size == 1)
    if any(x.shape[axis] != 1 for axis in axes):
        raise Unsupported(f"it squeezes the axes {sorted(axes)} of {x.shape}", "sizes of 1")
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    scope.reshape(node.name, x.name, shape, node.outputs[0])


def unsqueeze(node: OnnxNode, scope: Scope) -> None:
    """Unsqueeze: a view with more dimensions of size 1."""
    x = scope.activation(node, 0)
    count = len(_raw_axes(node, scope, since_input=13) or ())
    axes = _axes(node, scope, len(x.shape) + count, since_input=13) or ()
    sizes = iter(x.shape)
    shape = tuple(1 if axis in axes else next(sizes) for axis in range(len(x.shape) + count))
    scope.reshape(node.name, x.name, shape, node.outputs[0])


def softmax(node: OnnxNode, scope: Scope) -> None:
    """Softmax over the last dimension that is not 1, through views where it is not the last one.

    Before opset 13 it works on all dimensions from `axis` on together.
    """
    x = scope.activation(node, 0)
    rank = len(x.shape)
    together = node.opset < 13
    axis = node.integer("axis", 1 if together else -1)
    if not -rank <= axis < rank:
        raise Unsupported(f"axis is {axis} for {x.shape}", "an axis of its input")
    axis %= rank
    if not together and prod(x.shape[axis + 1 :]) != 1:
        raise Unsupported(f"axis is {axis} for {x.shape}", "the last axis")
    rows = (prod(x.shape[:axis]), prod(x.shape[axis:]))
    if axis == rank - 1:
        scope.emit("Softmax", node.name, (x.name,), node.outputs[0], {"axis": rank - 1})
        return
    flat = scope.view(node, x.name, rows)
    y = scope.emit("Softmax", node.name, (flat,), scope.fresh(f"{flat}.softmax"), {"axis": 1})
    scope.view(node, y, x.shape, node.outputs[0])


def _raw_axes(node: OnnxNode, scope: Scope, since_input: int) -> tuple[int, ...] | None:
    """The axes as written: an attribute before opset `since_input`, a constant input after."""
    if node.opset < since_input:
        values = node.attrs.get("axes")
        return None if values is None else node.integers("axes", values)
    constant = scope.optional(node, 1)
    return tuple(int(axis) for axis in constant.reshape(-1)) if constant is not None else None


def _axes(node: OnnxNode, scope: Scope, rank: int, since_input: int) -> tuple[int, ...] | None:
    """The axes counted from the front; None when there are none."""
    axes = _raw_axes(node, scope, since_input)
    if not axes:
        return None
    if not all(-rank <= axis < rank for axis in axes):
        raise Unsupported(f"axes are {list(axes)} for {rank} dimensions", "axes of its input")
    positive = tuple(axis % rank for axis in axes)
    if len(set(positive)) != len(positive):
        raise Unsupported(f"axes are {list(axes)}", "each axis once")
    return positive


IMPORTERS: dict[str, Importer] = {
    "Add": layers.add,
    "AveragePool": average_pool,
    "BatchNormalization": layers.batch_normalization,
    "Clip": clip,
    "Conv": layers.conv,
    "Dropout": dropout,
    "Flatten": flatten,
    "Gemm": layers.gemm,
    "GlobalAveragePool": global_average_pool,
    "Identity": identity,
    "MatMul": layers.matmul,
    "MaxPool": max_pool,
    "ReduceMean": reduce_mean,
    "Relu": relu,
    "Reshape": reshape,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
}
