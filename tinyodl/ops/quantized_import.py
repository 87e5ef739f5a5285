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
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto, helper

from tinyodl.ops.shared import IMPORTERS, Integers, OnnxNode, Scope, Unsupported, imports
from tinyodl.ops.shared.importer import ImportFunction
from tinyodl.ops.shared.integer_constants import along, quantized
from tinyodl.ops.shared.quantized_values import (
    fold_integers,
    integers_in,
    quantization_of,
    quantize,
    real_in,
    real_of,
    scale_in,
    zero_point_in,
)

# Operators that integers may go through, because their output holds elements of their input.
MOVING = frozenset(
    (
        *("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Expand"),
        *("Concat", "Split", "Slice", "Gather", "MaxPool"),
    )
)
# Those among them that leave each channel in its place, if their output has the same channels.
_KEEPING = frozenset(("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "MaxPool"))
_MICROSOFT = "com.microsoft"  # onnxruntime's own operators
_NOT = "activations of 16 or 4 bits, float8; several zero points of one activation"


@imports(
    "QuantizeLinear",
    becomes=("QuantizeLinear", "QuantizeChannels", "QLinearLookup"),
    covers="to int8 and uint8; a scale for each channel; constants to 2 to 16 bits, with blocks; "
    "behind an operator that has an int8 kernel it becomes part of that",
    limits=_NOT,
    domains=("", _MICROSOFT),
)
def quantize_linear(node: OnnxNode, scope: Scope) -> None:
    """QuantizeLinear."""
    _check_attributes(node)
    if node.input(0) in scope.constants:
        axis, block = node.integer("axis", 1), node.integer("block_size", 0)
        zero_point = zero_point_in(node, scope, 2, _made_kind(node))
        scale = scale_in(node, scope, 1, blocks=block > 0)
        x = scope.floats(node, 0)
        scope.constants[node.outputs[0]] = quantized(x, scale, zero_point, axis, block)
        return
    x_name, shape = scope.activation(node, 0).name, scope.activation(node, 0).shape
    of, kind = quantization_of(node, scope, 1, shape, _made_kind(node))
    quantize(scope, node.name, x_name, node.outputs[0], of, unsigned=kind == np.uint8)


@imports(
    "DequantizeLinear",
    becomes=("DequantizeLinear", "DequantizeChannels"),
    covers="of int8 and uint8, and of constants of 2 to 32 bits; a scale for each channel, for "
    "each block of a constant; before an operator that has an int8 kernel it becomes part of that",
    limits=_NOT,
    domains=("", _MICROSOFT),
)
def dequantize_linear(node: OnnxNode, scope: Scope) -> None:
    """DequantizeLinear."""
    _check_attributes(node)
    if node.input(0) in scope.constants:
        axis, block = node.integer("axis", 1), node.integer("block_size", 0)
        fold_integers(node, scope, 0, node.outputs[0], axis, block)
        return
    x = integers_in(node, scope, 0)
    scope.emit("DequantizeLinear", node.name, (x.name,), node.outputs[0])


def through_real_numbers(node: OnnxNode, scope: Scope, function: ImportFunction) -> None:
    """Import an operator that moves elements of int8 tensors with one common quantisation."""
    tensors = [scope.tensors[name] for name in node.inputs if name in scope.tensors]
    (quantization, *others) = {tensor.quantization for tensor in tensors}
    if quantization is None or others:
        raise Unsupported(
            "its inputs are integers of several scales, or of none that is known here", "one scale"
        )
    real = tuple(real_of(scope, name) if name in scope.tensors else name for name in node.inputs)
    outputs = tuple(scope.fresh(f"{name}.real") if name else "" for name in node.outputs)
    function(replace(node, inputs=real, outputs=outputs), scope)
    unsigned = not scope.unsigned.isdisjoint(node.inputs)
    for made, output in zip(outputs, node.outputs, strict=True):
        if not output:
            continue
        kept = scope.tensors[made].shape[:2] == tensors[0].shape[:2]
        if len(quantization.scale) > 1 and not (node.op in _KEEPING and kept):
            raise Unsupported(
                "it moves the channels of integers that have a scale for each", "one scale"
            )
        name = scope.fresh_node(f"{node.name}.quantize")
        quantize(scope, name, made, output, quantization, unsigned)


def as_real_numbers(scope: Scope, output: str) -> None:
    """Let an int8 output of the network be the real numbers that it stands for, under its name."""
    integers = scope.fresh(f"{output}.integers")
    scope.rename(output, integers)
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
    real = [real_in(node, scope, slot, form.channels(node)) for slot in slots]
    if form.bias is not None and node.input(form.bias):
        real.append(_real_bias(node, scope, form))
        slots = (*slots, form.bias)
    inner = replace(node, op=form.operator, inputs=tuple(real), slots=slots)
    if form.operator == "AveragePool":  # where count_include_pad, so onnxruntime divides
        inner = replace(inner, attrs={**inner.attrs, "whole_kernel": True})
    if form.operator == "Softmax":
        inner = replace(inner, opset=node.integer("opset", 13))
    if not node.input(form.scale):  # a QGemm may have a float output
        IMPORTERS[form.operator].function(inner, scope)
        return
    product = scope.fresh(f"{node.outputs[0]}.real")
    IMPORTERS[form.operator].function(replace(inner, outputs=(product,)), scope)
    name = scope.fresh_node(f"{node.name}.quantize")
    of, kind = quantization_of(node, scope, form.scale, scope.tensors[product].shape)
    quantize(scope, name, product, node.outputs[0], of, unsigned=kind == np.uint8)


for _name, _form in FORMS.items():
    imports(
        _name,
        becomes=(*_form.becomes, "DequantizeLinear", "QuantizeLinear"),
        covers=f"as {_form.operator} between DequantizeLinear and QuantizeLinear",
        limits="what these refuse",
        domains=(_form.domain,),
    )(_import_form)


def _check_attributes(node: OnnxNode) -> None:
    """Refuse real numbers other than float32."""
    for name, slot in (("output_dtype", "DequantizeLinear"), ("precision", "QuantizeLinear")):
        kind = node.integer(name, 0)
        if node.op == slot and kind not in (0, TensorProto.FLOAT):
            raise Unsupported(f"{name} is {kind}", "float32")


def _made_kind(node: OnnxNode) -> str:
    """The type of the integers where no zero point says it."""
    kind = node.integer("output_dtype", 0) or TensorProto.UINT8
    try:
        return helper.tensor_dtype_to_np_dtype(kind).name
    except KeyError:
        raise Unsupported(f"output_dtype is {kind}", "a type of integers") from None


def _real_bias(node: OnnxNode, scope: Scope, form: Form) -> str:
    """The bias of an operator on integers: int32, in steps of the product of the scales."""
    assert form.bias is not None
    q, source = scope.constant(node, form.bias), node.input(form.bias)
    if q.dtype != np.int32:
        raise Unsupported(f"its bias is {q.dtype}", "int32")
    x, w = (scale_in(node, scope, operand + 1) for operand in form.operands)
    key = (source, *(node.input(operand + 1) for operand in form.operands))
    if key not in scope.reals:
        name = scope.fresh(f"{source}.real")
        scope.reals[key] = name
        scope.constants[name] = q.astype(np.float32) * along(x * w, q, q.ndim - 1)
        scope.dequantized[name] = Integers(source, x * w, int8=False)
    return scope.reals[key]
