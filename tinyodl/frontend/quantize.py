"""--precision int8: a float32 ONNX file becomes an int8 one, by onnxruntime's static quantiser.

The result is in the QDQ form: weights are int8 around 0 with a scale for each output channel,
biases int32, activations int8 with one scale and zero point, from the smallest to the largest value
that the samples bring (MinMax). First, constants and BatchNormalization are folded: onnxruntime
does it for Conv, `frontend.fold` for the rest. What is not in `_QUANTIZED` computes in float32,
between DequantizeLinear and QuantizeLinear.

The same file and samples give the same bytes.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.quant_utils import (
    TENSOR_NAME_QUANT_SUFFIX as _QUANTIZED_NAME,
)
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from tinyodl.errors import ModelError
from tinyodl.files.whole_files import temporary_folder
from tinyodl.frontend.batch_axes import as_in_file
from tinyodl.frontend.build import import_checked
from tinyodl.frontend.fold import folded
from tinyodl.frontend.load import load_model, opset_of
from tinyodl.frontend.names import node_names
from tinyodl.frontend.runtime import one_line, session
from tinyodl.frontend.simplify import simplified
from tinyodl.graph import Array
from tinyodl.project.manifest import CalibrationRecord
from tinyodl.samples.data import load_inputs
from tinyodl.text import stored

_REMEDY = "compile with --precision float32, or give a model that is quantised already"
_NOT_FINITE = "not finite for some of the samples; check how their values are scaled"
_PER_CHANNEL_SINCE = 13  # the first opset with a scale for each channel in DequantizeLinear
_MOST_STEPS = 1 << 30  # of a bias: as much again is left for the sum of up to 32767 products
_FINE_STEPS = 1 << 15  # the least for the bias of a channel without weights
_STEPS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_LAYERS = ("Conv", "Gemm", "MatMul")
_VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
_QUANTIZED = (
    *_LAYERS,
    *_VIEWS,
    *("Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"),
)
_ERROR, _FATAL, _WARNING = logging.ERROR, 4, 2  # of Python's logging; of onnxruntime's, the default


@dataclass(frozen=True)
class Quantized:
    """An int8 model, the float32 model it was made from, and the record of its losses."""

    model: onnx.ModelProto
    real: onnx.ModelProto
    calibration: CalibrationRecord


def quantized(model: onnx.ModelProto, samples: Path, source: str, *, scores: bool) -> Quantized:
    """Quantise a float32 model with one output; the samples are those of `tinyodl.samples.data`.

    `scores`: the output's largest element is a class, so how often it stays the same is counted.
    Raises ModelError for a model that is quantised already or cannot be quantised, DataError for
    samples that do not fit it.
    """
    _refuse_integers(model, source)
    real = _newer(folded(simplified(model, source, _REMEDY), source), source)
    data = real.SerializeToString()
    graph = import_checked(load_model(Path(source), data), source).graph
    shapes = {name: graph.shape(name) for name in graph.inputs}
    inputs = load_inputs(samples, shapes, graph.shape(graph.outputs[0]))
    expected = _outputs(real, inputs)
    if not np.isfinite(expected).all():
        raise ModelError(f"{source}: the output is {_NOT_FINITE}")
    made = _quantized(real, inputs, source)
    _check(made, source)
    _hold_biases(made, real)
    _leave_room(made)
    return Quantized(made, real, _cost(expected, made, inputs, stored(samples.name), scores))


def _refuse_integers(model: onnx.ModelProto, source: str) -> None:
    for name, node in zip(node_names(model.graph), model.graph.node, strict=True):
        op = node.op_type
        if op in _STEPS or op.startswith(("QLinear", "QGemm", "DynamicQ")) or "Integer" in op:
            raise ModelError(
                f"{source}: is quantised already (node '{name}' is a {op}); leave "
                "--precision and --calibrate away"
            )


def _newer(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """The model with an opset that knows a scale for each channel."""
    if opset_of(model) >= _PER_CHANNEL_SINCE:
        return model
    try:
        return onnx.version_converter.convert_version(model, _PER_CHANNEL_SINCE)
    except Exception as error:  # onnx raises whatever its C++ half threw
        raise ModelError(
            f"{source}: uses opset {opset_of(model)}, quantising needs {_PER_CHANNEL_SINCE}, and "
            f"it cannot be converted: {one_line(error)}; export it with opset 17"
        ) from error


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    """One sample after the other, as onnxruntime asks for them."""

    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, Array]) -> None:
        self._samples = _each(model, inputs)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._samples, None)


def _each(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Each sample as the model's inputs have it, a batch of 1 where they have one."""
    for index in range(_count(inputs)):
        sample = {name: values[index : index + 1] for name, values in inputs.items()}
        yield as_in_file(model, sample)


def _count(inputs: Mapping[str, Array]) -> int:
    return min(len(values) for values in inputs.values())


def _quantized(real: onnx.ModelProto, inputs: Mapping[str, Array], source: str) -> onnx.ModelProto:
    with temporary_folder(Path(tempfile.gettempdir())) as folder, _quiet():
        before, after = folder / "float32.onnx", folder / "int8.onnx"
        marked = onnx.ModelProto()
        marked.CopyFrom(real)
        add_pre_process_metadata(marked)
        onnx.save(marked, before)
        try:
            quantize_static(
                before,
                after,
                _Samples(real, inputs),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTIZED),
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"MatMulConstBOnly": True},
            )
            return onnx.load(after)
        except Exception as error:  # whatever onnxruntime meets
            raise ModelError(
                f"{source}: onnxruntime cannot quantise it: {one_line(error)}; {_REMEDY}"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """A context without the advice that onnxruntime prints while it quantises."""
    level = logging.root.manager.disable
    logging.disable(_ERROR)
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
        logging.disable(level)


def _check(model: onnx.ModelProto, source: str) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    steps = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    if not steps:
        raise ModelError(
            f"{source}: has nothing to quantise; int8 are layers such as {', '.join(_LAYERS)}; "
            "compile it with --precision float32"
        )
    for node in steps:
        scale = onnx.numpy_helper.to_array(constants[node.input[1]])
        if not np.isfinite(scale).all():
            raise ModelError(f"{source}: '{node.input[0]}' is {_NOT_FINITE}")


def _hold_biases(model: onnx.ModelProto, real: onnx.ModelProto) -> None:
    """Give channels whose integer weights are all zero a scale that holds their bias.

    A bias comes in steps of input scale * weight scale. onnxruntime gives a channel without weights
    the weight scale 1, and the bias may round to nothing in such large steps. Zero is zero at any
    scale, so the channel takes the scale of its layer's other channels, or a smaller one at which
    its bias has 2^15 steps. The bias is then off by less than 1/256 of a step of the output: the
    output's range holds the bias.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    before = {tensor.name: tensor for tensor in real.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    users: dict[str, list[tuple[float, onnx.NodeProto, Array]]] = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        x, _, bias = (makers.get(name) for name in node.input)
        original = before.get(bias.input[0].removesuffix(_QUANTIZED_NAME)) if bias else None
        if x is None or bias is None or original is None:
            continue
        x_scale = float(onnx.numpy_helper.to_array(constants[x.input[1]]))
        held = onnx.numpy_helper.to_array(original).astype(np.float64).reshape(-1)
        users.setdefault(node.input[1], []).append((x_scale, bias, held))
    for name, layers in users.items():
        weight = makers.get(name)
        if weight is not None:
            _hold(weight, layers, constants)


def _hold(
    weight: onnx.NodeProto,
    layers: Sequence[tuple[float, onnx.NodeProto, Array]],
    constants: Mapping[str, onnx.TensorProto],
) -> None:
    """`_hold_biases` for one weight; input scale, bias and its real value of each layer with it."""
    integers = onnx.numpy_helper.to_array(constants[weight.input[0]])
    stored = onnx.numpy_helper.to_array(constants[weight.input[1]])
    axis = _channel_axis(weight, integers)
    channels = integers.shape[axis]
    dead = np.count_nonzero(np.moveaxis(integers, axis, 0).reshape(channels, -1), axis=1) == 0
    if stored.ndim == 0:
        dead = np.full(channels, dead.all())
    if not dead.any():
        return
    scales = np.broadcast_to(stored, channels).astype(np.float64)
    others = scales[~dead].max(initial=0) or np.inf
    finest, coarsest = np.zeros(channels), np.full(channels, others)
    for x_scale, _, real in layers:
        size = np.abs(real) / x_scale
        finest = np.maximum(finest, size / _MOST_STEPS)
        coarsest = np.minimum(coarsest, np.where(size > 0, size / _FINE_STEPS, np.inf))
    if stored.ndim == 0:
        finest, coarsest = np.full(channels, finest.max()), np.full(channels, coarsest.min())
    wanted = np.maximum(finest, coarsest)
    wanted = np.clip(wanted, np.finfo(np.float32).tiny, np.finfo(np.float32).max)
    scales = np.where(dead & (wanted < scales), wanted, scales).astype(np.float32)
    if np.array_equal(scales, np.broadcast_to(stored, channels)):
        return
    _replace(constants[weight.input[1]], scales if stored.ndim else scales[0])
    for x_scale, bias, real in layers:
        steps = (np.float32(x_scale) * scales).astype(np.float32)
        q = np.clip(np.rint(real / np.float64(steps)), -(2**31 - 1), 2**31 - 1)
        kept = onnx.numpy_helper.to_array(constants[bias.input[0]])
        _replace(constants[bias.input[0]], np.where(dead, q, kept).astype(np.int32))
        _replace(constants[bias.input[1]], steps if stored.ndim else steps[0])


def _replace(tensor: onnx.TensorProto, values: Array) -> None:
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(values), tensor.name))


def _channel_axis(dequantize: onnx.NodeProto, integers: Array) -> int:
    """The axis of a DequantizeLinear's output to which its scales belong."""
    axis = next((int(a.i) for a in dequantize.attribute if a.name == "axis"), 1)
    return axis % integers.ndim if integers.ndim > 1 else 0


def _leave_room(model: onnx.ModelProto) -> None:
    """Double the scales of weights where the bias has more than 2^30 steps of the sum of products.

    This happens in channels with weights near zero: onnxruntime gives them a scale at which the
    bias just fits int32, but then no sum of products can be added to it.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        weight, bias = makers.get(node.input[1]), makers.get(node.input[2])
        if weight is None or bias is None:
            continue
        steps = onnx.numpy_helper.to_array(constants[bias.input[0]])
        factor = np.where(np.abs(steps.astype(np.int64)) > _MOST_STEPS, 2, 1)
        if factor.max() > 1:
            _enlarge(weight, factor, constants)
            _enlarge(bias, factor, constants)


def _enlarge(
    dequantize: onnx.NodeProto, factor: Array, constants: Mapping[str, onnx.TensorProto]
) -> None:
    """Multiply the scales of what a DequantizeLinear makes, and divide its integers."""
    q, scale = (constants[name] for name in dequantize.input[:2])
    integers, scales = onnx.numpy_helper.to_array(q), onnx.numpy_helper.to_array(scale)
    axis = _channel_axis(dequantize, integers)
    along = [len(factor) if index == axis else 1 for index in range(integers.ndim)]
    divided = np.rint(integers / factor.reshape(along)).astype(integers.dtype)
    _replace(q, divided)
    _replace(scale, (scales * factor).astype(np.float32))


def _cost(
    expected: Array, made: onnx.ModelProto, inputs: Mapping[str, Array], samples: str, scores: bool
) -> CalibrationRecord:
    """How far the outputs for the samples are from the float32 model's outputs."""
    found = _outputs(made, inputs)
    error, size = np.abs(found - expected).mean(), np.abs(expected).mean()
    step = _output_step(made)
    same = expected.argmax(axis=1) == found.argmax(axis=1)
    counts = scores and expected.shape[1] > 1
    ops = {node.op_type for node in made.graph.node}
    return CalibrationRecord(
        samples=samples,
        count=len(expected),
        error=float(error / size) if size > 0 else 0.0,
        steps=None if step is None else float(error / step),
        agreement=float(same.mean()) if counts else None,
        real_operators=tuple(sorted(ops - _STEPS - set(_QUANTIZED))),
    )


def _outputs(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Array:
    """float64 (N, elements)."""
    running = session(model)
    made = [running.run(None, sample)[0].reshape(-1) for sample in _each(model, inputs)]
    return np.array(made, np.float64)


def _output_step(model: onnx.ModelProto) -> float | None:
    """The scale of the output, where that is made of integers."""
    output = model.graph.output[0].name
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and output in node.output:
            return float(onnx.numpy_helper.to_array(constants[node.input[1]]))
    return None
