"""Weights of quantised models in every type that the file may hold them in."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest

from tests.frontend.interpreter import evaluate
from tests.frontend.models import run_onnx, saved
from tests.frontend.quantized_models import Builder
from tests.frontend.test_export_quantized import Project
from tests.frontend.test_quantized import compare, sample_of
from tinyodl.frontend import import_model
from tinyodl.graph import Graph, Storage

NARROW = {name: np.dtype(getattr(ml_dtypes, name)) for name in ("int4", "uint4")}


def drawn(b: Builder, kind: str, *shape: int) -> np.ndarray:
    low, high = {"int4": (-8, 7), "uint4": (0, 15), "int16": (-9000, 9000)}[kind]
    return b.rng.integers(low, high, shape, endpoint=True).astype(NARROW.get(kind, kind))


def network(kind: str, zero_point: int, folder: Path, block: int = 0) -> Path:
    """A convolution and a dense layer on int8 activations, with weights of this type."""
    b = Builder("int8", opset=25)

    def weight(*shape: int) -> str:
        scales = (shape[0], -(-shape[1] // block), *shape[2:]) if block else (shape[0],)
        scale = b.scales(*scales) * (0.01 if kind == "int16" else 5)
        zero = np.full(scales, zero_point).astype(NARROW.get(kind, kind))
        axes = {"axis": 1, "block_size": block} if block else {"axis": 0}
        held = [b.hold(each) for each in (drawn(b, kind, *shape), scale, zero)]
        return b.add("DequantizeLinear", *held, **axes)

    x = b.rounded("x", 0.03, -7)
    a = b.rounded(b.add("Relu", b.add("Conv", x, weight(4, 2, 3, 3))), 0.05, -128)
    y = b.add("Gemm", b.add("Flatten", a), weight(3, 16), transB=1)
    return saved(b.built([1, 2, 4, 4], b.rounded(y, 0.2, 3)), folder)


def layers(graph: Graph) -> set[str]:
    return {node.op for node in graph.nodes} & {"Conv", "Gemm", "QLinearConv"}


@pytest.mark.parametrize("kind, zero_point", [("int4", 0), ("uint4", 8)])
def test_weights_of_four_bits_are_int8_ones(tmp_path, kind, zero_point):
    path = network(kind, zero_point, tmp_path)
    graph = import_model(path)
    assert layers(graph) == {"QLinearConv"}
    assert max(np.abs(graph.tensor(n.inputs[1]).data).max() for n in graph.nodes
               if n.op == "QLinearConv") <= 8  # fmt: skip
    found = compare(graph, path)
    assert found.most <= 1 and found.different <= 1


@pytest.mark.parametrize(
    "kind, zero_point, block", [("int16", 0, 0), ("uint4", 3, 0), ("int4", 0, 2), ("int16", 5, 4)]
)
def test_others_compute_in_float32(tmp_path, kind, zero_point, block):
    path = network(kind, zero_point, tmp_path, block)
    graph = import_model(path)
    assert layers(graph) == {"Conv", "Gemm"}
    x = sample_of(graph, 0)
    off = np.abs(evaluate(graph, x) - run_onnx(path, x)) / 0.2
    assert off.max() < 1.01 and np.count_nonzero(off > 0.01) <= 1


def test_learned_weights_of_four_bits_stay_so_while_they_fit(tmp_path):
    """Those that have grown are written as float32."""
    path = network("int4", 0, tmp_path)
    _, dense = (n for n in onnx.load(path).graph.node if n.op_type in ("Conv", "Gemm"))
    project = Project(tmp_path, path, {dense.name: "weights"})
    [parameter] = [t for t in project.net.parameters if t.storage is Storage.PARAMETER]
    value = project.net.parameter(parameter.name)
    fits = np.where(value < 7, value + 1, value)
    held = onnx.load(path).graph
    for learned, kind in ((fits, onnx.TensorProto.INT4), (value + 20, onnx.TensorProto.FLOAT)):
        project.net.write_parameter(parameter.name, learned)
        exported = project.export({parameter.name: learned})
        before = {tensor.name: tensor.SerializeToString() for tensor in held.initializer}
        [made] = [tensor for tensor in exported.graph.initializer
                  if before.get(tensor.name) != tensor.SerializeToString()]  # fmt: skip
        assert made.data_type == kind
        x = sample_of(project.graph, 1)
        off = np.abs(project.net.forward(x) - run_onnx(project.out, x)) / 0.2
        assert off.max() < 1.01 and np.count_nonzero(off > 0.01) <= 1


class TestFolding:
    def test_clip_between_the_integers_and_their_scale(self, tmp_path):
        """So Brevitas writes every narrow-range weight: int8 held, cut to -127 to 127."""
        for rounds in (False, True):
            b = Builder("int8")
            steps = b.steps(b.scales(3), 0, "int8")
            w = b.integers("int8", 3, 2, 3, 3)
            w[0, 0, 0, 0] = -128
            q = b.hold(w)
            if rounds:
                real = b.hold(w.astype(np.float32) * b.held[steps[0]].reshape(-1, 1, 1, 1))
                q = b.add("QuantizeLinear", real, *steps, axis=0)
            q = b.add("Clip", q, b.hold(np.int8(-127)), b.hold(np.int8(127)))
            x = b.rounded("x", 0.03, 5)
            y = b.add("Conv", x, b.add("DequantizeLinear", q, *steps, axis=0))
            path = saved(b.built([1, 2, 5, 5], b.rounded(y, 0.1, 0)), tmp_path)
            graph = import_model(path)
            assert layers(graph) == {"QLinearConv"}
            [layer] = [n for n in graph.nodes if n.op == "QLinearConv"]
            assert graph.tensor(layer.inputs[1]).data[0, 0, 0, 0] == -127
            assert compare(graph, path).different == 0

    @pytest.mark.parametrize("op", ["Round", "Sign", "Relu", "Tanh", "Sigmoid", "Erf", "Softplus"])
    def test_functions_of_constants(self, tmp_path, op):
        b = Builder("int8")
        made = b.add(op, b.hold(b.rng.normal(0, 2, (3, 6)).astype(np.float32)))
        path = saved(b.built([1, 6], b.add("Gemm", "x", made, transB=1)), tmp_path)
        x = b.rng.normal(size=(1, 6)).astype(np.float32)
        expected = run_onnx(path, x)
        np.testing.assert_allclose(evaluate(import_model(path), x), expected, rtol=1e-5, atol=1e-5)
