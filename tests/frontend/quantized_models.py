"""Small quantised models, as onnxruntime, PyTorch and tf2onnx write them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from tests.frontend.models import ROOT, model, node, saved
from tinyodl.graph import Array

LENET = ROOT / "tests" / "models" / "lenet_mnist_c8_bn.onnx"


class _Samples(CalibrationDataReader):
    def __init__(self, path: Path) -> None:
        (entry,) = onnx.load(path).graph.input
        shape = [d.dim_value or 1 for d in entry.type.tensor_type.shape.dim]
        rng = np.random.default_rng(0)
        drawn = [rng.normal(size=shape).astype(np.float32) for _ in range(4)]
        self._samples = iter([{entry.name: x} for x in drawn])

    def get_next(self):
        return next(self._samples, None)


def by_onnxruntime(
    path: Path,
    out: Path,
    form: QuantFormat,
    activations: QuantType = QuantType.QInt8,
    weights: QuantType = QuantType.QInt8,
    per_channel: bool = True,
) -> Path:
    """What onnxruntime's static quantiser makes of a float model.

    As operators on integers, int8 weights beside uint8 are of 7 bits: with AVX2 and without VNNI
    its kernels add pairs of products in 16 bits, which saturate.
    """
    mixed = (activations, weights) == (QuantType.QUInt8, QuantType.QInt8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            folded = out.with_name("folded.onnx")
            quant_pre_process(path, folded, skip_symbolic_shape=True)
            quantize_static(
                folded, out, _Samples(folded), quant_format=form, per_channel=per_channel,
                activation_type=activations, weight_type=weights,
                reduce_range=mixed and form is QuantFormat.QOperator,
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
    return out


class Builder:
    """The nodes and constants of a model, as they are put together."""

    def __init__(self, kind: str, opset: int = 17) -> None:
        self.kind, self.opset = kind, opset  # of the activations, of the operators
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.held: dict[str, Array] = {}

    def add(self, op: str, *inputs: str, output: str = "", **attrs) -> str:
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(node(op, inputs, output, f"n{len(self.nodes)}", **attrs))
        return output

    def hold(self, value: Array) -> str:
        name = f"c{len(self.held)}"
        self.held[name] = np.asarray(value)
        return name

    def steps(self, scale: Array | float, zero_point: Array | int, kind: str) -> tuple[str, str]:
        zero = np.broadcast_to(np.asarray(zero_point, kind), np.shape(scale))
        return self.hold(np.asarray(scale, np.float32)), self.hold(zero)

    def rounded(self, x: str, scale: float, zero_point: int, output: str = "") -> str:
        """Q and DQ; the zero point is that of int8."""
        shift = 128 if self.kind == "uint8" else 0
        steps = self.steps(scale, zero_point + shift, self.kind)
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *steps), *steps,
                        output=output)  # fmt: skip

    def integers(self, kind: str, *shape: int) -> Array:
        limits = np.iinfo(kind)
        reach = 2000 if kind == "int32" else limits.max
        return self.rng.integers(max(limits.min, -reach), reach, shape, endpoint=True).astype(kind)

    def scales(self, *shape: int) -> Array:
        return self.rng.uniform(0.002, 0.02, shape).astype(np.float32)

    def built(self, shape: list[int], output: str) -> onnx.ModelProto:
        return model(self.nodes, shape, self.held, self.opset, output=output)


def as_torch_exports() -> onnx.ModelProto:
    """Weights are float32 and quantised by nodes, biases float32, activations uint8.

    A residual block with ReLU6, an average pool, a dense layer.
    """
    b = Builder("uint8")

    def weight(*shape: int) -> str:
        scale = b.scales(shape[0])
        each = scale.reshape(-1, *(1,) * (len(shape) - 1))
        real = b.hold((b.integers("int8", *shape) * each).astype(np.float32))
        steps = b.steps(scale, 0, "int8")
        return b.add("DequantizeLinear", b.add("QuantizeLinear", real, *steps, axis=0), *steps,
                     axis=0)  # fmt: skip

    def bias(size: int) -> str:
        return b.hold(b.rng.normal(0, 0.2, size).astype(np.float32))

    x = b.rounded("x", 0.03, -7)
    a = b.add("Conv", x, weight(6, 3, 3, 3), bias(6), pads=[1, 1, 1, 1])
    a = b.rounded(b.add("Relu", a), 0.09, -128)
    c = b.add("Conv", a, weight(6, 1, 3, 3), bias(6), pads=[1, 1, 1, 1], group=6)
    c = b.add("Clip", c, b.hold(np.float32(0)), b.hold(np.float32(6)))
    c = b.rounded(c, 0.0235, -128)
    d = b.rounded(b.add("Conv", c, weight(6, 6, 1, 1)), 0.05, 3)
    e = b.rounded(b.add("Add", a, d), 0.11, -90)
    f = b.rounded(b.add("AveragePool", e, kernel_shape=[2, 2], strides=[2, 2]), 0.1, -100)
    g = b.rounded(b.add("HardSwish", f), 0.08, -110)
    h = b.rounded(b.add("MaxPool", g, kernel_shape=[2, 2], strides=[2, 2]), 0.08, -110)
    flat = b.add("Flatten", h)
    y = b.add("Gemm", flat, weight(5, 24), bias(5), transB=1)
    return b.built([1, 3, 8, 8], b.rounded(y, 0.2, 10))


def as_tf2onnx_exports() -> onnx.ModelProto:
    """Weights lie as in TensorFlow and are transposed, biases are added behind a MatMul."""
    b = Builder("int8")

    def weight(axis: int, *shape: int) -> str:
        steps = b.steps(b.scales(shape[axis]), 0, "int8")
        return b.add("DequantizeLinear", b.hold(b.integers("int8", *shape)), *steps, axis=axis)

    def bias(size: int) -> str:
        steps = b.steps(b.scales(size) * 0.05, 0, "int32")
        return b.add("DequantizeLinear", b.hold(b.integers("int32", size)), *steps, axis=0)

    x = b.rounded("x", 0.03, 5)
    w = b.add("Transpose", weight(3, 3, 3, 2, 4), perm=[3, 2, 0, 1])
    a = b.add("Conv", x, w, bias(4), auto_pad="SAME_UPPER", strides=[2, 2])
    a = b.rounded(b.add("Relu", a), 0.07, -128)
    w = b.add("Reshape", weight(2, 3, 3, 4, 1), b.hold(np.int64([3, 3, 1, 4])))
    w = b.add("Transpose", w, perm=[3, 2, 0, 1])
    c = b.add("Conv", a, w, bias(4), group=4, pads=[1, 1, 1, 1])
    c = b.rounded(c, 0.06, 9)
    d = b.rounded(b.add("ReduceMean", c, axes=[2, 3], keepdims=0), 0.04, -3)
    e = b.add("MatMul", d, weight(1, 4, 6))
    e = b.rounded(b.add("Relu", b.add("Add", e, bias(6))), 0.05, -128)
    f = b.add("MatMul", e, weight(1, 6, 3))
    return b.built([1, 2, 9, 9], b.rounded(b.add("Add", bias(3), f), 0.3, 4))


def as_onnxruntimes_operators() -> onnx.ModelProto:
    """Operators on integers in a row, uint8 and weights of 7 bits: see `by_onnxruntime`."""
    b = Builder("uint8")
    x, y, z = b.steps(0.03, 133, "uint8"), b.steps(0.1, 100, "uint8"), b.steps(0.2, 128, "uint8")
    weight = b.hold(b.integers("int8", 3, 2, 3, 3) // 2), *b.steps(2 * b.scales(3), 0, "int8")
    q = b.add("QuantizeLinear", "x", *x)
    q = b.add("QLinearConv", q, *x, *weight, *y, b.hold(b.integers("int32", 3)), pads=[1] * 4)
    q = b.add("MaxPool", q, kernel_shape=[2, 2], strides=[2, 2])
    q = b.add("QLinearAdd", q, *y, q, *y, *z, domain="com.microsoft")
    q = b.add("Flatten", b.add("QLinearGlobalAveragePool", q, *z, *y, domain="com.microsoft"))
    weight = b.hold(b.integers("int8", 2, 3) // 2), *b.steps(0.02, 0, "int8")
    bias = b.hold(b.integers("int32", 2))
    q = b.add("QGemm", q, *y, *weight, bias, *z, transB=1, domain="com.microsoft")
    output = b.add("DequantizeLinear", q, *z)
    return model(b.nodes, [1, 2, 5, 5], b.held, output=output, rank=2, domains=["com.microsoft"])


def with_shared_and_odd_parts() -> onnx.ModelProto:
    """What stays float32: weights around 7, a shared bias, sums of two shapes, concatenation."""
    b = Builder("int8")
    steps = b.steps(0.01, 7, "int8")
    odd = b.add("DequantizeLinear", b.hold(b.integers("int8", 4, 2, 1, 1)), *steps)
    steps = b.steps(0.01, 0, "int8")
    even = b.add("DequantizeLinear", b.hold(b.integers("int8", 4, 4, 1, 1)), *steps)
    bias = b.hold(b.rng.normal(0, 0.2, 4).astype(np.float32))
    x = b.rounded("x", 0.03, 5)
    a = b.rounded(b.add("Conv", x, odd), 0.05, 2)
    c = b.rounded(b.add("Conv", a, even, bias), 0.1, 1)
    d = b.rounded(b.add("Conv", c, even, bias), 0.2, -3)
    pooled = b.rounded(b.add("GlobalAveragePool", d), 0.1, 0)
    e = b.rounded(b.add("Add", d, pooled), 0.3, 0)
    f = b.rounded(b.add("Concat", e, c, axis=1), 0.3, 1)
    return b.built([1, 2, 4, 5], b.rounded(b.add("MaxPool", f, kernel_shape=[2, 2]), 0.2, 3))


def _lenet(form: QuantFormat, *kinds: object) -> Callable[[Path], Path]:
    return lambda folder: by_onnxruntime(LENET, folder / "lenet.onnx", form, *kinds)


def _saved(build: Callable[[], onnx.ModelProto]) -> Callable[[Path], Path]:
    return lambda folder: saved(build(), folder)


def as_integers_around_anything(folder: Path) -> Path:
    """Operators on integers whose weights have a zero point: their layers stay float32."""
    kinds = (QuantType.QUInt8, QuantType.QUInt8, False)
    return by_onnxruntime(LENET, folder / "lenet.onnx", QuantFormat.QOperator, *kinds)


# A file in a folder, by what it shows; in all of them every layer becomes int8.
MADE: dict[str, Callable[[Path], Path]] = {
    "qdq": _lenet(QuantFormat.QDQ),
    "qdq uint8": _lenet(QuantFormat.QDQ, QuantType.QUInt8),
    "qdq per tensor": _lenet(QuantFormat.QDQ, QuantType.QUInt8, QuantType.QInt8, False),
    "qoperator": _lenet(QuantFormat.QOperator),
    "qoperator uint8": _lenet(QuantFormat.QOperator, QuantType.QUInt8),
    "onnxruntime": _saved(as_onnxruntimes_operators),
    "torch": _saved(as_torch_exports),
    "tf2onnx": _saved(as_tf2onnx_exports),
}
