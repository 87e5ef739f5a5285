"""Importers of what has weights: Conv, Gemm, MatMul, and what folds into them.

BatchNormalization and the addition of a constant become temporary nodes here;
`passes.fold_into_layers` folds them.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tinyodl.frontend.problems import Unsupported
from tinyodl.frontend.scope import (
    ADD_CONSTANT,
    BATCH_NORMALIZATION,
    OnnxNode,
    Scope,
)
from tinyodl.frontend.windows import windows
from tinyodl.graph import Array, Tensor


def conv(node: OnnxNode, scope: Scope) -> None:
    """Conv over 1 or 2 spatial dimensions; 1-D data and weights are seen as images of height 1."""
    x = spatial_input(node, scope)
    weight = scope.floats(node, 1)
    bias = scope.floats(node, 2) if node.input(2) else None
    group = node.integer("group", 1)
    if weight.ndim != len(x.shape):
        raise Unsupported(f"its weight has the shape {weight.shape}", f"{len(x.shape)} dimensions")
    outputs, inputs, *kernel = weight.shape
    if group < 1 or inputs * group != x.shape[1] or outputs % group:
        raise Unsupported(
            f"a weight of shape {weight.shape} in {group} groups on {x.shape[1]} channels",
            "channels that divide evenly into the groups",
        )
    if node.integers("kernel_shape", kernel) != tuple(kernel):
        raise Unsupported(
            f"kernel_shape is {node.attrs['kernel_shape']}, its weight has {kernel}", "one kernel"
        )
    if bias is not None and bias.shape != (outputs,):
        raise Unsupported(f"its bias has the shape {bias.shape}", f"({outputs},)")
    over = windows(node, x.shape[2:], kernel, pool=False)
    image = weight.reshape(outputs, inputs, *over.kernel)
    w = scope.parameter(node, 1, image)
    b = scope.parameter(node, 2, bias) if bias is not None else ""
    attrs = {
        "strides": over.strides,
        "pads": over.pads,
        "dilations": over.dilations,
        "group": group,
    }
    emit_on_image(node, scope, "Conv", x, (w, b), attrs)


def gemm(node: OnnxNode, scope: Scope) -> None:
    """Gemm with constant B and C on one row; alpha and beta go into the constants."""
    x = scope.activation(node, 0)
    weight = scope.floats(node, 1)
    alpha, beta = _factor(node, "alpha"), _factor(node, "beta")
    transposed = node.integer("transB", 0)
    if weight.ndim != 2:
        raise Unsupported(f"B has the shape {weight.shape}", "2 dimensions")
    if alpha == 0.0:
        raise Unsupported("alpha is 0", "any other number")
    outputs, inputs = weight.shape if transposed else weight.shape[::-1]
    row = (1, x.size)
    if len(x.shape) != 2 or x.shape[1 if node.integer("transA", 0) == 0 else 0] != x.size:
        raise Unsupported(f"A has the shape {x.shape}", "one row, batch 1")
    if inputs != x.size:
        raise Unsupported(f"B has {inputs} rows for {x.size} inputs", "as many rows as inputs")
    bias = scope.floats(node, 2) if node.input(2) and beta != 0.0 else None
    if bias is not None:
        try:
            full = np.broadcast_to(bias, (1, outputs)).reshape(outputs)
        except ValueError:
            raise Unsupported(f"C has the shape {bias.shape}", f"({outputs},)") from None
    if transposed:
        w = scope.parameter(node, 1, _scaled(weight, alpha), "none", alpha)
    else:
        w = scope.parameter(node, 1, _scaled(weight.T, alpha), "transpose", alpha)
    b = scope.parameter(node, 2, _scaled(full, beta), "none", beta) if bias is not None else ""
    scope.emit("Gemm", node.name, (scope.view(node, x.name, row), w, b), node.outputs[0])


def matmul(node: OnnxNode, scope: Scope) -> None:
    """MatMul of one row with a constant matrix: a Gemm without bias."""
    x = scope.activation(node, 0)
    weight = scope.floats(node, 1)
    if weight.ndim != 2:
        raise Unsupported(f"its right side has the shape {weight.shape}", "2 dimensions")
    if prod(x.shape[:-1]) != 1 or len(x.shape) < 2:
        raise Unsupported(f"its left side has the shape {x.shape}", "one row, batch 1")
    if weight.shape[0] != x.size:
        raise Unsupported(
            f"its right side has {weight.shape[0]} rows for {x.size} inputs",
            "as many rows as inputs",
        )
    w = scope.parameter(node, 1, weight.T, "transpose")
    row = scope.view(node, x.name, (1, x.size))
    if len(x.shape) == 2:
        scope.emit("Gemm", node.name, (row, w, ""), node.outputs[0])
        return
    y = scope.emit("Gemm", node.name, (row, w, ""), scope.fresh(f"{node.outputs[0]}.row"))
    scope.view(node, y, (*x.shape[:-1], weight.shape[1]), node.outputs[0])


def batch_normalization(node: OnnxNode, scope: Scope) -> None:
    """BatchNormalization of inference: y = factor * x + offset for each channel (axis 1)."""
    x = scope.activation(node, 0)
    if node.integer("training_mode", 0):
        raise Unsupported("training_mode is 1", "inference, training_mode 0")
    if any(name in scope.read for name in node.outputs[1:] if name):
        raise Unsupported("its running mean or variance is used", "its first output only")
    scale, bias, mean, variance = (
        scope.floats(node, slot).astype(np.float64) for slot in (1, 2, 3, 4)
    )
    channels = x.shape[1] if len(x.shape) > 1 else 1
    for value in (scale, bias, mean, variance):
        if value.shape != (channels,):
            raise Unsupported(
                f"a constant of shape {value.shape} on {channels} channels", f"({channels},)"
            )
    spread = variance + node.number("epsilon", 1e-5)
    if not (spread > 0).all():
        raise Unsupported("variance + epsilon is not positive", "positive variances")
    factor = scale / np.sqrt(spread)
    attrs = {"factor": factor, "offset": bias - mean * factor}
    scope.emit(BATCH_NORMALIZATION, node.name, (x.name,), node.outputs[0], attrs)


def add(node: OnnxNode, scope: Scope) -> None:
    """Add: two computed tensors of one shape, or a constant that becomes a layer's bias."""
    constant = [slot for slot in (0, 1) if node.input(slot) in scope.constants]
    if not constant:
        a, b = scope.activation(node, 0), scope.activation(node, 1)
        if a.shape != b.shape:
            raise Unsupported(f"it adds the shapes {a.shape} and {b.shape}", "two of one shape")
        scope.emit("Add", node.name, (a.name, b.name), node.outputs[0])
        return
    slot = constant[0]
    x = scope.activation(node, 1 - slot)
    value = scope.floats(node, slot)
    padded = (1,) * (len(x.shape) - value.ndim) + value.shape
    if len(padded) != len(x.shape) or any(
        given not in (1, size) for given, size in zip(padded, x.shape, strict=True)
    ):
        raise Unsupported(
            f"it adds a constant of shape {value.shape} to {x.shape}", "one value per channel"
        )
    name = node.input(slot)
    attrs = {
        "constant": value.reshape(padded),
        "slot": slot,
        "initializer": name if name in scope.initializers else None,
    }
    scope.emit(ADD_CONSTANT, node.name, (x.name,), node.outputs[0], attrs)


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


def _factor(node: OnnxNode, name: str) -> float:
    value = node.number(name, 1.0)
    if not np.isfinite(value):
        raise Unsupported(f"{name} is {value}", "a finite number")
    return value


def _scaled(value: Array, scale: float) -> Array:
    with np.errstate(over="ignore"):  # `Scope.parameter` refuses what is not finite
        return value if scale == 1.0 else value * np.float32(scale)
