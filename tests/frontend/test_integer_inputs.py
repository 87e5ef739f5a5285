"""Networks whose inputs and outputs are integers, and other ways to quantise, refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime.quantization
import pytest
from onnx import TensorProto, helper

import tinyodl
from tests.frontend.interpreter import evaluate
from tests.frontend.models import model, node, run_onnx, saved, weights
from tests.frontend.quantized_models import Builder
from tests.hostnet import HostNet
from tinyodl.errors import ModelError, UserError
from tinyodl.frontend import import_model
from tinyodl.graph import Array, Graph
from tinyodl.project.plan import UpdatePlan

KINDS = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


def with_integer_ends(b: Builder, shape: list[int], y: str, kind: str, folder: Path) -> Path:
    """The input x and the output y are integers of this type."""
    made = b.built(shape, y)
    for value in (made.graph.input[0], made.graph.output[0]):
        value.type.tensor_type.elem_type = KINDS[kind]
    return saved(made, folder)


def drawn(graph: Graph, kind: str, seed: int) -> tuple[Array, Array]:
    """An input as integers, and the real numbers that they stand for."""
    tensor = graph.tensor(graph.inputs[0])
    low = -128 if kind == "int8" else 0
    q = np.random.default_rng(seed).integers(low, low + 256, tensor.shape)
    of = tensor.quantization
    return q.astype(kind), ((q - low - 128 - of.zero_point) * of.scale[0]).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moves", ["Transpose", "Reshape", "both"])
def test_an_input_that_is_moved_has_the_scale_that_comes_behind(tmp_path, kind, moves):
    """So tf2onnx writes an int8 TFLite file: NHWC integers, transposed, then dequantised."""
    b = Builder(kind)
    shift = 128 if kind == "uint8" else 0
    q = "x"
    if moves != "Transpose":
        q = b.add("Reshape", q, b.hold(np.int64([1, 6, 6, 2])))
    if moves != "Reshape":
        q = b.add("Transpose", q, perm=[0, 3, 1, 2])
    x = b.add("DequantizeLinear", q, *b.steps(0.03, shift + 8, kind))
    held = b.hold(b.integers("int8", 4, 6 if moves == "Reshape" else 2, 1, 1))
    w = b.add("DequantizeLinear", held, *b.steps(b.scales(4), 0, "int8"), axis=0)
    steps = b.steps(0.05, shift - 3, kind)
    y = b.add("QuantizeLinear", b.add("Conv", x, w), *steps)
    shape = [1, 6, 6, 2] if moves == "Transpose" else [1, 72]
    path = with_integer_ends(b, shape, y, kind, tmp_path)
    graph = import_model(path)
    assert "QLinearConv" in {n.op for n in graph.nodes}
    for seed in range(2):
        q, real = drawn(graph, kind, seed)
        expected = (run_onnx(path, q).astype(np.float32) - (shift - 3)) * np.float32(0.05)
        np.testing.assert_allclose(evaluate(graph, real), expected, atol=1e-6)


def test_a_cast_input_stands_for_its_numbers(tmp_path):
    """An image of bytes that the network scales by itself."""
    b = Builder("uint8")
    real = b.add("Div", b.add("Cast", "x", to=TensorProto.FLOAT), b.hold(np.float32(255)))
    y = b.add("Gemm", b.add("Flatten", real), b.hold(weights(48, 3)))
    made = b.built([1, 3, 4, 4], y)
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    path = saved(made, tmp_path)
    graph = import_model(path)
    assert graph.tensor("x").quantization.scale == (1.0,)
    q, real = drawn(graph, "uint8", 0)
    np.testing.assert_array_equal(real, q)
    net = HostNet(graph, UpdatePlan(layers={}, loss="mse"), tmp_path / "net")
    np.testing.assert_allclose(net.forward(real), run_onnx(path, q), rtol=1e-5, atol=1e-6)


def test_integers_cast_with_another_scale_are_refused(tmp_path):
    b = Builder("int8")
    q = b.add("QuantizeLinear", "x", *b.steps(0.1, 0, "int8"))
    path = saved(b.built([1, 6], b.add("Cast", q, to=TensorProto.FLOAT)), tmp_path)
    with pytest.raises(ModelError, match=r"has the scale 0\.1 elsewhere"):
        import_model(path)


@pytest.mark.parametrize("learns", [True, False])
def test_an_autoencoder_of_integers_is_compared_with_its_input(tmp_path, learns):
    """The target is what the integers of the sample stand for; the steps are those of loss mse."""
    b = Builder("int8")
    x = b.add("DequantizeLinear", "x", *b.steps(0.04, 7, "int8"))
    for shape in ((3, 8), (8, 3)):
        held = b.hold(b.integers("int8", *shape))
        w = b.add("DequantizeLinear", held, *b.steps(0.01, 0, "int8"))
        steps = b.steps(0.05, 0, "int8")
        y = b.add("QuantizeLinear", b.add("Gemm", x, w, transB=1), *steps)
        x = b.add("DequantizeLinear", y, *steps)
    graph = import_model(with_integer_ends(b, [1, 8], y, "int8", tmp_path))
    layers = [n.name for n in graph.nodes if n.op == "QLinearConv"] if learns else []
    nets = [HostNet(graph, UpdatePlan(layers=dict.fromkeys(layers, "weights"), loss=loss,
                                      learning_rate=0.05), tmp_path / loss)
            for loss in ("reconstruction", "mse")]  # fmt: skip
    losses = []
    for seed in range(4):
        _, real = drawn(graph, "int8", seed)
        made = nets[0].forward(real)
        losses.append(nets[0].train(real, -1))
        assert losses[-1] == pytest.approx(np.mean((made - real) ** 2), rel=1e-5)
        assert losses[-1] == nets[1].train(real, 0, real)
    for parameter in nets[1].parameters if learns else ():
        found = (net.parameter(parameter.name) for net in nets)
        np.testing.assert_array_equal(*found)


def test_samples_to_start_with_need_a_float_input(tmp_path):
    b = Builder("int8")
    x = b.add("DequantizeLinear", "x", *b.steps(0.04, 7, "int8"))
    steps = b.steps(0.05, 0, "int8")
    y = b.add("QuantizeLinear", b.add("Gemm", x, b.hold(weights(8, 8))), *steps)
    path = with_integer_ends(b, [1, 8], y, "int8", tmp_path)
    np.savez(tmp_path / "x.npz", x=weights(5, 8))
    with pytest.raises(UserError, match="--start computes with real numbers"):
        tinyodl.compile(path, "host", tmp_path / "ae", learner="online", loss="reconstruction",
                        start=tmp_path / "x.npz")  # fmt: skip


class TestOtherWays:
    def test_quantised_dynamically(self, tmp_path):
        """By onnxruntime's own quantiser: the remedy is the float file."""
        path = saved(model([node("MatMul", ["x", "w"], "y")], [1, 8], {"w": weights(8, 8)}),
                     tmp_path)  # fmt: skip
        out = tmp_path / "dynamic.onnx"
        onnxruntime.quantization.quantize_dynamic(path, out)
        with pytest.raises(ModelError) as caught:
            import_model(out)
        for word in ("quantised dynamically", "float32 file", "--precision int8 --calibrate"):
            assert word in str(caught.value)

    @pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
    def test_qonnx(self, tmp_path, domain):
        held = {"s": np.float32(0.1), "z": np.float32(0), "b": np.float32(4)}
        quant = node("Quant", ["x", "s", "z", "b"], "q", "quant", domain=domain, signed=1)
        nodes = [quant, node("Relu", ["q"], "y")]
        path = saved(model(nodes, [1, 8], held, rank=2, domains=[domain]), tmp_path)
        with pytest.raises(ModelError) as caught:
            import_model(path)
        for word in ("Quant 'quant'", "QONNX", "export_onnx_qcdq"):
            assert word in str(caught.value)

    def test_weights_in_blocks(self, tmp_path):
        held = {"w": np.zeros((4, 1, 16), np.uint8), "s": np.ones(4, np.float32)}
        made = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft",
                                K=32, N=4, bits=4, block_size=32)  # fmt: skip
        path = saved(model([made], [1, 32], held, rank=2, domains=["com.microsoft"]), tmp_path)
        assert onnx.load(path)
        with pytest.raises(ModelError, match="packed in blocks"):
            import_model(path)
