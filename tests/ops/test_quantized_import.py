"""onnxruntime's operators on integers, by themselves: the generated C makes the same integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.frontend.models import model
from tests.frontend.quantized_models import Builder
from tests.hostnet import HostNet
from tinyodl.frontend import import_model
from tinyodl.frontend.runtime import session
from tinyodl.graph import Graph
from tinyodl.project.plan import UpdatePlan

X = (0.03137, 5)  # scale and zero point of int8
KINDS = pytest.mark.parametrize("kind", ["int8", "uint8"])


class Integers(Builder):
    """A model on integers between QuantizeLinear and DequantizeLinear."""

    def quantized(self, scale: float, zero_point: int) -> tuple[str, str]:
        return self.steps(scale, zero_point + (128 if self.kind == "uint8" else 0), self.kind)

    def entry(self, x: str = "x") -> tuple[str, str, str]:
        """An input as integers, with scale and zero point."""
        steps = self.quantized(*X)
        return self.add("QuantizeLinear", x, *steps), *steps

    def weight(self, *shape: int, axis: int | None = None) -> tuple[str, str, str]:
        """Beside uint8 of 7 bits: with AVX2 and without VNNI, onnxruntime adds pairs of products in
        16 bits, which saturate (its `reduce_range` is for that)."""
        scale = 0.01 if axis is None else self.scales(shape[axis])
        values = self.integers("int8", *shape)
        if self.kind == "uint8":
            values, scale = values // 2, 3 * scale
        return self.hold(values), *self.steps(scale, 0, "int8")

    def microsoft(self, op: str, *inputs: str, **attrs) -> str:
        return self.add(op, *inputs, domain="com.microsoft", **attrs)

    def check(
        self, folder: Path, shape: list[int], y: str, steps: tuple[str, str], rank: int = 0
    ) -> Graph:
        """Compare with onnxruntime: at most one step apart, and few of them are."""
        output = self.add("DequantizeLinear", y, *steps)
        made = model(self.nodes, shape, self.held, output=output, rank=rank or len(shape),
                     domains=["com.microsoft"])  # fmt: skip
        path = folder / "model.onnx"
        path.write_bytes(made.SerializeToString())
        graph = import_model(path)
        net = HostNet(graph, UpdatePlan(loss="mse"), folder / "net")
        for seed in range(3):
            x = np.random.default_rng(seed).normal(0, 1.5, shape).astype(np.float32)
            (expected,) = session(onnx.load(path)).run(None, {"x": x})
            off = np.abs(net.forward(x).reshape(expected.shape) - expected)
            off /= self.held[steps[0]]
            assert off.max() < 1.01 and (off > 0.01).mean() <= 0.02
            assert np.ptp(expected) > 20 * self.held[steps[0]]
        return graph


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes if n.op != "Reshape"]


@KINDS
@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("biased", [False, True])
def test_conv(tmp_path, kind, axis, biased):
    b = Integers(kind)
    y = b.quantized(0.2, -7)
    bias = [b.hold(b.integers("int32", 4))] if biased else []
    q = b.add("QLinearConv", *b.entry(), *b.weight(4, 2, 3, 3, axis=axis), *y, *bias, pads=[1] * 4)
    graph = b.check(tmp_path, [1, 2, 6, 5], q, y)
    assert ops(graph) == ["QLinearConv", "DequantizeLinear"]


@KINDS
@pytest.mark.parametrize("axis", [None, 1])
def test_matmul(tmp_path, kind, axis):
    b = Integers(kind)
    y = b.quantized(0.1, -7)
    q = b.add("QLinearMatMul", *b.entry(), *b.weight(6, 5, axis=axis), *y)
    assert ops(b.check(tmp_path, [1, 6], q, y)) == ["QLinearConv", "DequantizeLinear"]


@KINDS
def test_matmul_of_several_rows_and_of_two_computed_operands(tmp_path, kind):
    b = Integers(kind)
    y, z = b.quantized(0.1, -7), b.quantized(0.4, 3)
    x = b.entry()
    q = b.add("QLinearMatMul", *x, *b.weight(5, 5), *y)
    q = b.add("QLinearMatMul", q, *y, *x, *z)
    assert "MatMul" in ops(b.check(tmp_path, [1, 5, 5], q, z))


@KINDS
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
def test_gemm(tmp_path, kind, transposed, biased):
    b = Integers(kind)
    y = b.quantized(0.1, -7)
    shape, axis = ((5, 6), 0) if transposed else ((6, 5), 1)
    bias = b.hold(b.integers("int32", 5)) if biased else ""
    w = b.weight(*shape, axis=axis)
    q = b.microsoft("QGemm", *b.entry(), *w, bias, *y, transB=transposed)
    assert ops(b.check(tmp_path, [1, 6], q, y)) == ["QLinearConv", "DequantizeLinear"]


@KINDS
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_arithmetic(tmp_path, kind, op):
    b = Integers(kind)
    y, z = b.quantized(0.04021, -7), b.quantized(0.0917, 9)
    x = b.entry()
    other = b.microsoft("QLinearSigmoid", *x, *y)
    q = b.microsoft(op, *x, other, *y, *z)
    found = ops(b.check(tmp_path, [1, 40], q, z))
    assert ("QLinearAdd" in found) == (op == "QLinearAdd") != ("Mul" in found)


@KINDS
@pytest.mark.parametrize(
    "op, attrs", [("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.2})]
)
def test_functions(tmp_path, kind, op, attrs):
    b = Integers(kind)
    y = b.quantized(0.01, -100)
    q = b.microsoft(op, *b.entry(), *y, **attrs)
    assert ops(b.check(tmp_path, [1, 60], q, y)) == ["QLinearLookup", "DequantizeLinear"]


@KINDS
def test_softmax(tmp_path, kind):
    b = Integers(kind)
    y = b.quantized(1 / 256, -128)
    q = b.microsoft("QLinearSoftmax", *b.entry(), *y, axis=-1, opset=13)
    assert "Softmax" in ops(b.check(tmp_path, [1, 7], q, y))


@KINDS
@pytest.mark.parametrize(
    "op, attrs",
    [
        ("QLinearAveragePool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
        ("QLinearGlobalAveragePool", {"channels_last": 0}),
    ],
)
def test_averages(tmp_path, kind, op, attrs):
    b = Integers(kind)
    y = b.quantized(0.00813, -7)
    q = b.microsoft(op, *b.entry(), *y, **attrs)
    graph = b.check(tmp_path, [1, 9, 6, 5], q, y)
    assert ops(graph) == ["QLinearAveragePool", "DequantizeLinear"]


@KINDS
def test_concat(tmp_path, kind):
    b = Integers(kind)
    y, z = b.quantized(0.01, -100), b.quantized(0.04, 1)
    x = b.entry()
    q = b.microsoft("QLinearSigmoid", *x, *y)
    q = b.microsoft("QLinearConcat", *z, *x, q, *y, axis=1)
    assert "Concat" in ops(b.check(tmp_path, [1, 3, 4], q, z))


@KINDS
def test_what_moves_integers(tmp_path, kind):
    b = Integers(kind)
    x, *steps = b.entry()
    q = b.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    q = b.add("Transpose", q, perm=[0, 2, 3, 1])
    q = b.add("Reshape", q, b.hold(np.int64([1, 4, 9])))
    q = b.add("Slice", q, *(b.hold(np.int64([value])) for value in (1, 9, 2)))
    q = b.add("Squeeze", b.add("Unsqueeze", q, b.hold(np.int64([1]))), b.hold(np.int64([1])))
    found = ops(b.check(tmp_path, [1, 6, 4, 6], q, tuple(steps), rank=3))
    assert found[0] == "QLinearMaxPool" and {"Transpose", "Slice"} <= set(found)
