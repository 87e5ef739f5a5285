"""Values of quantised models, as importers read and make them: integers and the real ones.

Computed integers are int8 in the IR, with one scale, or with one for each channel (axis 1) and one
zero point. Constant integers are folded to the real numbers that they stand for.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tinyodl.graph import Array, Quantization, Tensor
from tinyodl.ops.shared.importer import OnnxNode, Unsupported
from tinyodl.ops.shared.integer_constants import dequantized, limits, middle
from tinyodl.ops.shared.operator import ShapeTuple
from tinyodl.ops.shared.quantization import bounds
from tinyodl.ops.shared.scope import Integers, Scope

SHIFT = 128  # from int8 to uint8
_COMPUTED = "activations of int8 and uint8"


def scale_in(node: OnnxNode, scope: Scope, slot: int, blocks: bool = False) -> Array:
    """The scales in an input slot: a row, or of any shape where there may be `blocks`."""
    scale = scope.floats(node, slot)
    if (scale.ndim > 1 and not blocks) or not (scale > 0).all():
        raise Unsupported(
            f"'{node.input(slot)}' has the shape {scale.shape}, from {scale.min():g}",
            "one positive scale, or one for each channel",
        )
    return scale if blocks else scale.reshape(-1)


def zero_point_in(node: OnnxNode, scope: Scope, slot: int, kind: str = "uint8") -> Array:
    """The zero points in an input slot; 0 of the type `kind` where there are none."""
    given = scope.optional(node, slot)
    zero_point = np.zeros(1, kind) if given is None else given
    limits(zero_point.dtype)
    return zero_point


def quantization_of(
    node: OnnxNode, scope: Scope, slot: int, shape: ShapeTuple, kind: str = "uint8"
) -> tuple[Quantization, np.dtype[Any]]:
    """The quantisation of a computed value, as int8, and the type that it has in the file.

    Its scale is in the input slot `slot`, its zero point in the next one.
    """
    if node.integer("block_size", 0):
        raise Unsupported("a computed value has a scale for each block", "one scale")
    scale, zero_point = scale_in(node, scope, slot), zero_point_in(node, scope, slot + 1, kind)
    if zero_point.dtype.name not in ("int8", "uint8"):
        raise Unsupported(f"it makes integers of the type {zero_point.dtype.name}", _COMPUTED)
    zero = {int(each) for each in zero_point.reshape(-1)}
    if np.all(scale == scale[0]):
        scale = scale[:1]
    axis = node.integer("axis", 1) % max(len(shape), 1)
    if len(zero) > 1 or (scale.size > 1 and (axis, scale.size) != (1, shape[1])):
        found = "several zero points" if len(zero) > 1 else f"a scale for each index of axis {axis}"
        raise Unsupported(
            f"a computed value has {found}",
            "one scale, or one for each channel (axis 1), and one zero point",
        )
    shift = SHIFT if zero_point.dtype == np.uint8 else 0
    scales = tuple(float(each) for each in scale)
    return Quantization(scales, zero.pop() - shift), zero_point.dtype


def quantize(
    scope: Scope, name: str, x: str, output: str, quantization: Quantization, unsigned: bool
) -> None:
    """Append a QuantizeLinear."""
    attrs = asdict(bounds(quantization))
    scope.emit("QuantizeLinear", name, (x,), output, attrs, quantization)
    if unsigned:
        scope.unsigned.add(output)


def integers_in(node: OnnxNode, scope: Scope, slot: int) -> Tensor:
    """The int8 tensor in an input slot; the next two hold its scale and zero point."""
    x = scope.computed(node, slot)
    if x.dtype != "int8":
        raise Unsupported(f"input '{x.name}' is {x.dtype}", "int8 and uint8")
    kind = "uint8" if x.name in scope.unsigned else "int8"
    read, held = quantization_of(node, scope, slot + 1, x.shape, kind)
    if held != kind:
        raise Unsupported(f"a zero point of {held} for {kind}", "the same type")
    if x.quantization is None:  # an input of the network
        x = replace(x, quantization=read)
        scope.add(x)
    if x.quantization != read:
        raise Unsupported(
            f"it reads '{x.name}' with another scale or zero point than it was made with",
            "the same scale and zero point",
        )
    return x


def real_of(scope: Scope, integers: str) -> str:
    """The real numbers of an int8 tensor."""
    if (integers,) not in scope.reals:
        name = scope.fresh_node(f"{integers}.dequantize")
        made = scope.emit("DequantizeLinear", name, (integers,), scope.fresh(f"{integers}.real"))
        scope.reals[(integers,)] = made
    return scope.reals[(integers,)]


def real_in(node: OnnxNode, scope: Scope, slot: int, axis: int) -> str:
    """The real numbers that the integers in an input slot stand for."""
    name = node.input(slot)
    if name not in scope.constants:
        return real_of(scope, integers_in(node, scope, slot).name)
    key = (name, node.input(slot + 1), node.input(slot + 2))
    if key not in scope.reals:
        scope.reals[key] = scope.fresh(f"{name}.real")
        fold_integers(node, scope, slot, scope.reals[key], axis)
    return scope.reals[key]


def fold_integers(
    node: OnnxNode, scope: Scope, slot: int, output: str, axis: int, block: int = 0
) -> None:
    """Add the real numbers of constant integers; the next two slots hold scale and zero point."""
    q = scope.constant(node, slot)
    scale = scale_in(node, scope, slot + 1, blocks=block > 0)
    zero_point = zero_point_in(node, scope, slot + 2, q.dtype.name)
    scope.constants[output] = dequantized(q, scale, zero_point, axis, block)
    zero = middle(q.dtype)
    int8 = zero is not None and bool((zero_point.astype(np.int64) == zero).all())
    scope.dequantized[output] = Integers(node.input(slot), scale, int8 and not block)
