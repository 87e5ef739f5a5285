"""Resize and Upsample: each axis by itself, which makes them a Gather or a product with a matrix.

    nearest:        y[.., i, ..] = x[.., index[i], ..]
    linear, cubic:  y = x W along the last axis, y = W' x along the one before

The indices and matrices are what onnxruntime makes of the unit matrix. Where ONNX's own reference
makes others, such as with align_corners and sizes that are rounded, Resize is refused. Before opset
11 onnxruntime alone says what it means: the place of y[i] in x is i / scale, rounded down for the
nearest, and up where the axis gets smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
from onnx.reference import ReferenceEvaluator

from tinyodl.graph import Array, Storage, Tensor
from tinyodl.ops.gather import gather_along
from tinyodl.ops.shared import OnnxNode, Scope, Unsupported, imports

_OPSET = 19  # has all the attributes
_MODES = ("nearest", "linear", "cubic")
_PLACE = "coordinate_transformation_mode"
_NOT_IN_THE_REFERENCE, _LAST_WITH_IT = "tf_half_pixel_for_nn", 12
_OLD = 10  # the last opset without these attributes
_KEPT = (
    *(_PLACE, "nearest_mode", "cubic_coeff_a", "exclude_outside"),
    *("antialias", "keep_aspect_ratio_policy"),
)
_LARGEST = 1 << 12  # of an axis: its matrix has as many rows


@imports(
    "Resize",
    becomes=("Gather", "FixedMatMul", "Identity"),
    covers="scales or sizes, axes; nearest on any axis, linear and cubic on the last two",
    limits="scales or sizes that are computed, tf_crop_and_resize, an aspect ratio that is kept",
)
def resize(node: OnnxNode, scope: Scope) -> None:
    """Resize, one axis after the other."""
    old = node.opset < 11
    scales = scope.floats(node, 1) if old else scope.optional(node, 2)
    sizes = None if old else scope.optional(node, 3)
    attrs = {name: node.attrs[name] for name in _KEPT if name in node.attrs}
    if node.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("it keeps the aspect ratio", "keep_aspect_ratio_policy stretch")
    if attrs.get(_PLACE) == "tf_crop_and_resize":
        raise Unsupported("it crops, tf_crop_and_resize", "the other modes")
    _resize(node, scope, scales, sizes, None if old else attrs)


@imports(
    "Upsample",
    becomes=("Gather", "FixedMatMul", "Identity"),
    covers="scales as attribute or input; nearest on any axis, linear on the last two",
    limits="scales that are computed",
)
def upsample(node: OnnxNode, scope: Scope) -> None:
    """Upsample, which opset 10 replaced by Resize."""
    given = node.attrs.get("scales")
    scales = scope.floats(node, 1) if given is None else np.array(given, np.float32)
    _resize(node, scope, scales, None, None)


def _resize(
    node: OnnxNode,
    scope: Scope,
    scales: Array | None,
    sizes: Array | None,
    attrs: Mapping[str, Any] | None,
) -> None:
    x = scope.activation(node, 0)
    mode = {"bilinear": "linear"}.get(mode := node.attrs.get("mode", "nearest"), mode)
    if mode not in _MODES:
        raise Unsupported(f"mode is {mode!r}", ", ".join(_MODES))
    rank = len(x.shape)
    given = sizes if scales is None or not scales.size else scales
    axes = [axis % rank for axis in node.attrs.get("axes", range(rank))]
    if given is None or given.size != len(axes):
        raise Unsupported("it has neither scales nor sizes for each axis", "one of both")
    named = "sizes" if given is sizes else "scales"
    made = {axis: {named: value} for axis, value in zip(axes, given.tolist(), strict=True)}
    changed = [
        axis
        for axis, how in made.items()
        if how != {"scales": 1.0} and how != {"sizes": x.shape[axis]}
    ]
    seen = x.name
    for axis in changed:
        if x.shape[axis] > _LARGEST or made[axis].get("sizes", 0) > _LARGEST:
            raise Unsupported(f"axis {axis} has {x.shape[axis]} elements", f"up to {_LARGEST}")
        weights = _weights(x.shape[axis], mode, made[axis], attrs)
        last = axis == changed[-1]
        output = node.outputs[0] if last else scope.fresh(f"{node.outputs[0]}.axis{axis}")
        if (weights == (weights == 1.0)).all() and (weights.sum(axis=0) == 1.0).all():
            indices = [int(index) for index in weights.argmax(axis=0)]
            seen = gather_along(node, scope, seen, axis, indices, output)
        else:
            seen = _product(node, scope, seen, axis - rank, weights, output)
    if not changed:
        scope.emit("Identity", node.name, (seen,), node.outputs[0])


def _product(node: OnnxNode, scope: Scope, x: str, axis: int, weights: Array, output: str) -> str:
    """Multiply along the last axis (-1) or the one before; returns the output."""
    if axis < -2:
        raise Unsupported("it mixes elements of an axis before the last two", "nearest there")
    matrix = np.ascontiguousarray(weights if axis == -1 else weights.T, np.float32)
    held = scope.add(
        Tensor(scope.fresh(f"{node.name}.weights"), matrix.shape, Storage.FLASH, data=matrix)
    )
    name = node.name if output == node.outputs[0] else scope.fresh_node(f"{node.name}.rows")
    operands = (x, held) if axis == -1 else (held, x)
    attrs = {"alpha": 1.0, "trans_a": False, "trans_b": False}
    return scope.emit("FixedMatMul", name, operands, output, attrs)


def _weights(
    size: int, mode: str, how: Mapping[str, float | int], attrs: Mapping[str, Any] | None
) -> Array:
    """(size, new size): the share of each element in each new one."""
    kind = onnx.TensorProto.FLOAT
    from tinyodl.frontend.runtime import session  # onnxruntime loads slowly

    if "scales" in how:
        inputs = ["x", "s"] if attrs is None else ["x", "", "s"]
        fed = np.array([1, 1, 1, how["scales"]], np.float32)
    else:
        inputs, fed = ["x", "", "", "s"], np.array([1, 1, size, how["sizes"]], np.int64)
        kind = onnx.TensorProto.INT64
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Resize", inputs, ["y"], mode=mode, **(attrs or {}))],
        "axis",
        [
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, size, size]),
            onnx.helper.make_tensor_value_info("s", kind, [4]),
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    known = attrs is not None and attrs.get(_PLACE) != _NOT_IN_THE_REFERENCE
    version = _OPSET if known else _OLD if attrs is None else _LAST_WITH_IT
    opset = onnx.helper.make_opsetid("", version)
    try:
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
        given = {"x": np.eye(size, dtype=np.float32)[None, None], "s": fed}
        [made] = session(model).run(None, given)
        reference: Any = ReferenceEvaluator(model).run(None, given) if known else [made]
        expected = np.asarray(reference[0])
    except Exception as error:  # onnxruntime raises its own types
        raise Unsupported(f"its weights cannot be computed ({error})", "valid scales") from error
    weights: Array = np.asarray(made)[0, 0]
    if made.shape != expected.shape or not np.allclose(made, expected, atol=1e-4):
        raise Unsupported("onnxruntime and ONNX's reference make different numbers of it", "others")
    if not weights.size or not np.isfinite(weights).all():
        raise Unsupported(f"it makes {weights.shape[-1:]} elements of {size}", "at least one")
    return weights
