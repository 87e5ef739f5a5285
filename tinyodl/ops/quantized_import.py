"""Quantised models: QuantizeLinear, DequantizeLinear, and onnxruntime's operators on integers.

An ONNX file is quantised in one of two forms. In the QDQ form a float operator stands between
DequantizeLinear and QuantizeLinear; in the QOperator form one operator, as QLinearConv, does all
three. Here the second form becomes the first, so that a pass over the graph (`frontend/quantized`)
has one form to find int8 layers in.

    QuantizeLinear     q = saturate(round(x / scale) + zero_point)
    DequantizeLinear   x = (q - zero_point) * scale

Of computed values both become operators of the IR, where integers are int8: uint8 ones are shifted
by 128, their zero points too. Of constants they are folded, and the scope remembers what integers a
constant was made of. An operator that only moves elements may do so with integers: it is seen as
moving the real numbers, between the same two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from tinyodl.graph import Array, Quantization, Tensor
from tinyodl.ops.shared import IMPORTERS, Integers, OnnxNode, Scope, Unsupported, imports
from tinyodl.ops.shared.importer import ImportFunction
from tinyodl.ops.shared.quantization import bounds

# Operators that integers may go through, because their output holds elements of their input.
MOVING = frozenset(
    (
        *("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Expand"),
        *("Concat", "Split", "Slice", "Gather", "MaxPool"),
    )
)
_MICROSOFT = "com.microsoft"  # onnxruntime's own operators
_SHIFT = 128  # from int8 to uint8
_NOT = "other integers, float8, blocks; a scale for each channel of a computed value"


@imports(
    "QuantizeLinear",
    becomes=("QuantizeLinear", "QLinearLookup"),
    covers="to int8 and uint8; behind an operator that has an int8 kernel it becomes part of that",
    limits=_NOT,
    domains=("", _MICROSOFT),
)
def quantize_linear(node: OnnxNode, scope: Scope) -> None:
    """QuantizeLinear."""
    _check_attributes(node)
    scale, zero_point = _scale(node, scope, 1), _zero_point(node, scope, 2)
    if node.input(0) in scope.constants:
        x, axis = scope.floats(node, 0), node.integer("axis", 1)
        kind = np.iinfo(zero_point.dtype)
        with np.errstate(over="ignore"):
            q = np.rint(x / _along(scale, x, axis)) + _along(zero_point, x, axis)
        scope.constants[node.outputs[0]] = np.clip(q, kind.min, kind.max).astype(kind.dtype)
        return
    given = scope.activation(node, 0).name
    _quantize(scope, node.name, given, node.outputs[0], scale, zero_point)


@imports(
    "DequantizeLinear",
    becomes=("DequantizeLinear",),
    covers="of int8 and uint8, and of int32 constants; a scale for each channel of a constant; "
    "before an operator that has an int8 kernel it becomes part of that",
    limits=_NOT,
    domains=("", _MICROSOFT),
)
def dequantize_linear(node: OnnxNode, scope: Scope) -> None:
    """DequantizeLinear."""
    _check_attributes(node)
    if node.input(0) in scope.constants:
        _fold(node, scope, 0, node.outputs[0], node.integer("axis", 1))
        return
    x = _integers(node, scope, 0)
    scope.emit("DequantizeLinear", node.name, (x.name,), node.outputs[0])


def through_real_numbers(node: OnnxNode, scope: Scope, function: ImportFunction) -> None:
    """Import an operator that moves elements of int8 tensors with one common quantisation."""
    tensors = [scope.tensors[name] for name in node.inputs if name in scope.tensors]
    quantized = {tensor.quantization for tensor in tensors}
    (quantization, *others) = quantized
    if quantization is None or others:
        raise Unsupported(
            "its inputs are integers of several scales, or of none that is known here", "one scale"
        )
    real = tuple(_real_of(scope, name) if name in scope.tensors else name for name in node.inputs)
    outputs = tuple(scope.fresh(f"{name}.real") if name else "" for name in node.outputs)
    function(replace(node, inputs=real, outputs=outputs), scope)
    unsigned = not scope.unsigned.isdisjoint(node.inputs)
    for made, output in zip(outputs, node.outputs, strict=True):
        if output:
            name = scope.fresh_node(f"{node.name}.quantize")
            _emit(scope, name, made, output, quantization, unsigned)


def as_real_numbers(scope: Scope, output: str) -> None:
    """Let an int8 output of the network be the real numbers that it stands for, under its name."""
    integers = scope.fresh(f"{output}.integers")
    renamed = {output: integers}
    scope.nodes = [
        replace(
            node,
            inputs=tuple(renamed.get(name, name) for name in node.inputs),
            outputs=tuple(renamed.get(name, name) for name in node.outputs),
        )
        for node in scope.nodes
    ]
    scope.add(replace(scope.tensors.pop(output), name=integers))
    name = scope.fresh_node(f"{output}.dequantize")
    scope.emit("DequantizeLinear", name, (integers,), output)


def _column(node: OnnxNode) -> int:
    """The axis of a Gemm's B that its outputs lie on."""
    return 0 if node.integer("transB", 0) else 1


@dataclass(frozen=True)
class Form:
    """An operator on integers: the float one it stands for, and where its numbers are.

    operands  the input slots that hold integers; the next two hold their scale and zero point.
              () for one operand after the other from slot 2 on.
    scale     the slot of the output's scale; the next one holds its zero point.
    becomes   what the float operator may become; see `Importer`.
    bias      the slot of an int32 bias.
    channels  the axis of a weight that a scale for each channel runs along.
    """

    operator: str
    operands: tuple[int, ...]
    scale: int
    becomes: tuple[str, ...]
    bias: int | None = None
    channels: Callable[[OnnxNode], int] = lambda node: 1
    domain: str = _MICROSOFT


_LAYERS = ("QLinearConv", "Gemm", "MatMul")
_AVERAGES = ("QLinearAveragePool", "AveragePool", "ReduceMean")
FORMS = {
    "QLinearConv": Form(
        "Conv", (0, 3), 6, ("QLinearConv", "Conv"), bias=8, channels=lambda node: 0, domain=""
    ),
    "QLinearMatMul": Form("MatMul", (0, 3), 6, _LAYERS, channels=lambda node: -1, domain=""),
    "QGemm": Form("Gemm", (0, 3), 7, _LAYERS, bias=6, channels=_column),
    "QLinearAdd": Form("Add", (0, 3), 6, ("QLinearAdd", "Add")),
    "QLinearMul": Form("Mul", (0, 3), 6, ("Mul",)),
    "QLinearConcat": Form("Concat", (), 0, ("Concat",)),
    "QLinearAveragePool": Form("AveragePool", (0,), 3, _AVERAGES),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", (0,), 3, _AVERAGES),
    "QLinearSigmoid": Form("Sigmoid", (0,), 3, ("QLinearLookup",)),
    "QLinearLeakyRelu": Form("LeakyRelu", (0,), 3, ("QLinearLookup",)),
    "QLinearSoftmax": Form("Softmax", (0,), 3, ("Softmax",)),
}


def _import_form(node: OnnxNode, scope: Scope) -> None:
    """An operator on integers: its float operator, between DequantizeLinear and QuantizeLinear."""
    form = FORMS[node.op]
    if node.integer("channels_last", 0):
        raise Unsupported("channels_last is 1", "channels on axis 1")
    slots = form.operands or tuple(range(2, len(node.inputs), 3))
    real = [_real(node, scope, slot, form.channels(node)) for slot in slots]
    if form.bias is not None and node.input(form.bias):
        real.append(_real_bias(node, scope, form))
        slots = (*slots, form.bias)
    inner = replace(node, op=form.operator, inputs=tuple(real), slots=slots)
    if form.operator == "Softmax":
        inner = replace(inner, opset=node.integer("opset", 13))
    if not node.input(form.scale):  # a QGemm may have a float output
        IMPORTERS[form.operator].function(inner, scope)
        return
    scale, zero_point = _scale(node, scope, form.scale), _zero_point(node, scope, form.scale + 1)
    product = scope.fresh(f"{node.outputs[0]}.real")
    IMPORTERS[form.operator].function(replace(inner, outputs=(product,)), scope)
    name = scope.fresh_node(f"{node.name}.quantize")
    _quantize(scope, name, product, node.outputs[0], scale, zero_point)


for _name, _form in FORMS.items():
    imports(
        _name,
        becomes=(*_form.becomes, "DequantizeLinear", "QuantizeLinear"),
        covers=f"as {_form.operator} between DequantizeLinear and QuantizeLinear",
        limits="what these refuse",
        domains=(_form.domain,),
    )(_import_form)


def _check_attributes(node: OnnxNode) -> None:
    """Refuse what newer opsets added."""
    if node.integer("block_size", 0):
        raise Unsupported("it has a scale for each block", "a scale for each tensor or channel")
    for name in ("output_dtype", "precision"):
        kind = node.integer(name, 0)
        if kind not in (0, TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8):
            raise Unsupported(f"{name} is {kind}", "int8, uint8 and float32")


def _scale(node: OnnxNode, scope: Scope, slot: int) -> Array:
    """The scales in an input slot, as a row."""
    scale = scope.floats(node, slot)
    if scale.ndim > 1 or not (scale > 0).all():
        raise Unsupported(
            f"'{node.input(slot)}' has the shape {scale.shape}, from {scale.min():g}",
            "one positive scale, or one for each channel",
        )
    return scale.reshape(-1)


def _zero_point(node: OnnxNode, scope: Scope, slot: int, kind: str = "uint8") -> Array:
    """The zero points in an input slot, as a row; 0 of the type `kind` where there are none."""
    given = scope.optional(node, slot)
    zero_point = np.zeros(1, kind) if given is None else given.reshape(-1)
    _check_kind(zero_point.dtype)
    return zero_point


def _check_kind(kind: np.dtype[Any]) -> None:
    if kind.name not in ("int8", "uint8", "int32"):
        raise Unsupported(f"it has integers of the type {kind.name}", "int8 and uint8")


def _along(values: Array, of: Array, axis: int) -> Array:
    """One value, or one for each index of an axis of `of`, so that they can be broadcast."""
    if values.size == 1:
        return values.reshape(())
    if not -of.ndim <= axis < of.ndim or of.shape[axis] != values.size:
        raise Unsupported(
            f"{values.size} scales or zero points along axis {axis} of {of.shape}",
            "one for each index of an axis",
        )
    shape = [1] * of.ndim
    shape[axis] = values.size
    return values.reshape(shape)


def _single(scale: Array, zero_point: Array) -> Quantization:
    """The quantisation of a computed tensor, as int8."""
    if zero_point.dtype.name not in ("int8", "uint8"):
        raise Unsupported(f"its integers are {zero_point.dtype}", "int8 and uint8")
    if scale.size > 1 or zero_point.size > 1:
        raise Unsupported("a computed value has a scale for each channel", "one scale")
    shift = _SHIFT if zero_point.dtype == np.uint8 else 0
    return Quantization((float(scale[0]),), int(zero_point[0]) - shift)


def _quantize(
    scope: Scope, name: str, x: str, output: str, scale: Array, zero_point: Array
) -> None:
    """Append a QuantizeLinear."""
    _emit(scope, name, x, output, _single(scale, zero_point), zero_point.dtype == np.uint8)


def _emit(
    scope: Scope, name: str, x: str, output: str, quantization: Quantization, unsigned: bool
) -> None:
    attrs = asdict(bounds(quantization))
    scope.emit("QuantizeLinear", name, (x,), output, attrs, quantization)
    if unsigned:
        scope.unsigned.add(output)


def _integers(node: OnnxNode, scope: Scope, slot: int) -> Tensor:
    """The int8 tensor in an input slot; the next two hold its scale and zero point."""
    x = scope.computed(node, slot)
    if x.dtype != "int8":
        raise Unsupported(f"input '{x.name}' is {x.dtype}", "int8 and uint8")
    kind = "uint8" if x.name in scope.unsigned else "int8"
    zero_point = _zero_point(node, scope, slot + 2, kind)
    if zero_point.dtype != kind:
        raise Unsupported(f"a zero point of {zero_point.dtype} for {kind}", "the same type")
    read = _single(_scale(node, scope, slot + 1), zero_point)
    if x.quantization is None:  # an input of the network
        x = replace(x, quantization=read)
        scope.add(x)
    if x.quantization != read:
        raise Unsupported(
            f"it reads '{x.name}' with another scale or zero point than it was made with",
            "the same scale and zero point",
        )
    return x


def _real(node: OnnxNode, scope: Scope, slot: int, axis: int) -> str:
    """The real numbers that the integers in an input slot stand for."""
    name = node.input(slot)
    if name not in scope.constants:
        return _real_of(scope, _integers(node, scope, slot).name)
    key = (name, node.input(slot + 1), node.input(slot + 2))
    if key not in scope.reals:
        scope.reals[key] = scope.fresh(f"{name}.real")
        _fold(node, scope, slot, scope.reals[key], axis)
    return scope.reals[key]


def _real_of(scope: Scope, integers: str) -> str:
    """The real numbers of an int8 tensor."""
    if (integers,) not in scope.reals:
        name = scope.fresh_node(f"{integers}.dequantize")
        made = scope.emit("DequantizeLinear", name, (integers,), scope.fresh(f"{integers}.real"))
        scope.reals[(integers,)] = made
    return scope.reals[(integers,)]


def _real_bias(node: OnnxNode, scope: Scope, form: Form) -> str:
    """The bias of an operator on integers: int32, in steps of the product of the scales."""
    assert form.bias is not None
    q, source = scope.constant(node, form.bias), node.input(form.bias)
    if q.dtype != np.int32:
        raise Unsupported(f"its bias is {q.dtype}", "int32")
    x, w = (_scale(node, scope, operand + 1) for operand in form.operands)
    key = (source, *(node.input(operand + 1) for operand in form.operands))
    if key not in scope.reals:
        name = scope.fresh(f"{source}.real")
        scope.reals[key] = name
        scope.constants[name] = q.astype(np.float32) * _along(x * w, q, q.ndim - 1)
        scope.dequantized[name] = Integers(source, x * w, int8=False)
    return scope.reals[key]


def _fold(node: OnnxNode, scope: Scope, slot: int, output: str, axis: int) -> None:
    """Add the real numbers of constant integers; the next two slots hold scale and zero point."""
    q = scope.constant(node, slot)
    _check_kind(q.dtype)
    scale = _scale(node, scope, slot + 1)
    zero_point = _zero_point(node, scope, slot + 2, q.dtype.name)
    steps = q.astype(np.int64) - _along(zero_point.astype(np.int64), q, axis)
    with np.errstate(over="ignore"):  # whoever reads it refuses what is not finite
        scope.constants[output] = steps.astype(np.float32) * _along(scale, q, axis)
    middle = {"int8": 0, "uint8": _SHIFT}.get(q.dtype.name)
    int8 = middle is not None and bool((zero_point == middle).all())
    scope.dequantized[output] = Integers(node.input(slot), scale, int8)
