"""Channels without weights in int8 layers: their bias is all that they say, and it must arrive."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.frontend.models import model, node, run_onnx, saved
from tests.hostnet import HostNet
from tinyodl.frontend import Changes, Prepared, import_model, prepare
from tinyodl.project.plan import UpdatePlan

BIAS = np.array([0.5, 1.2, -0.4, 2.0e-3], np.float32)
SHAPES = {  # of weights, and of a sample
    "Conv": ((4, 2, 3), (2, 10)),
    "Conv of images": ((4, 2, 3, 3), (2, 6, 6)),
    "grouped Conv": ((4, 1, 3), (2, 10)),
    "depthwise Conv": ((4, 1, 3), (4, 10)),
    "Gemm": ((4, 6), (6,)),
    "transposed Gemm": ((6, 4), (6,)),
    "MatMul": ((6, 4), (6,)),
}


def layer(kind: str, w: np.ndarray) -> list[onnx.NodeProto]:
    """The layer alone, from x to y."""
    if kind == "MatMul":
        return [node("MatMul", ["x", "w"], "h", "layer"), node("Add", ["h", "b"], "y", "sum")]
    if "Gemm" in kind:
        return [node("Gemm", ["x", "w", "b"], "y", "layer", transB=int(kind == "Gemm"))]
    group = {"grouped Conv": 2, "depthwise Conv": 4}.get(kind, 1)
    return [node("Conv", ["x", "w", "b"], "y", "layer", group=group)]


def weights_of(kind: str, dead: list[int], size: float = 0.0) -> np.ndarray:
    """Small weights; those of dead channels so large, at most."""
    shape, _ = SHAPES[kind]
    w = (np.random.default_rng(0).normal(size=shape) * 1e-3).astype(np.float32)
    channels = w if len(shape) > 2 or shape[0] == 4 else w.T
    channels[dead] = np.sign(channels[dead]) * np.float32(size)
    return w


def int8(kind: str, w: np.ndarray, bias: np.ndarray, scale: float, folder) -> Prepared:
    """The layer in int8, calibrated with samples of that standard deviation."""
    _, shape = SHAPES[kind]
    path = saved(model(layer(kind, w), [1, *shape], {"w": w, "b": bias}), folder)
    x = np.random.default_rng(1).normal(size=(60, *shape)) * scale
    np.savez(folder / "x.npz", x=x.astype(np.float32))
    return prepare(path, Changes(precision="int8", calibrate=folder / "x.npz"))


def step_of(made: onnx.ModelProto) -> float:
    """The scale of the output."""
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    [last] = [n for n in made.graph.node if made.graph.output[0].name in n.output]
    return float(held[last.input[1]])


@pytest.mark.parametrize(
    ("dead", "size"),
    [
        pytest.param([1, 2], 0.0, id="two"),
        pytest.param([0, 1, 2, 3], 0.0, id="all"),
        pytest.param([3], 0.0, id="the last"),
        pytest.param([1, 2], 1e-30, id="next to nothing"),
        pytest.param([1, 2], 1e-41, id="subnormal"),
    ],
)
@pytest.mark.parametrize("kind", SHAPES)
def test_their_bias_is_held_in_int8(kind, dead, size, tmp_path):
    """With inputs of 400, onnxruntime alone puts these biases in steps of 10: all are lost."""
    prepared = int8(kind, weights_of(kind, dead, size), BIAS, 400.0, tmp_path)
    made = onnx.load_from_string(prepared.data)
    onnx.checker.check_model(made, full_check=True)
    kept = tmp_path / "kept.onnx"
    kept.write_bytes(prepared.data)
    step = step_of(made)
    for x in np.load(tmp_path / "x.npz")["x"][:5]:
        found = run_onnx(kept, x[None])
        channels = np.moveaxis(found, 1, 0)[dead].reshape(len(dead), -1)
        assert np.abs(channels - BIAS[dead][:, None]).max() <= 0.51 * step
    assert prepared.calibration.steps < 1


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("bias", [1e-6, 1.0, 1e6])
def test_of_any_size(scale, bias, tmp_path):
    prepared = int8("Gemm", weights_of("Gemm", [1, 2]), BIAS * np.float32(bias), scale, tmp_path)
    assert prepared.calibration.steps < 1


@pytest.mark.parametrize("kind", [kind for kind in SHAPES if kind != "MatMul"])
def test_the_c_code_answers_as_onnxruntime(kind, tmp_path):
    prepared = int8(kind, weights_of(kind, [1, 2]), BIAS, 400.0, tmp_path)
    kept = tmp_path / "kept.onnx"
    kept.write_bytes(prepared.data)
    net = HostNet(prepared.graph, UpdatePlan(loss="mse"), tmp_path / "net")
    step = step_of(onnx.load(kept))
    for x in np.load(tmp_path / "x.npz")["x"][:5]:
        expected = run_onnx(kept, x[None])
        assert np.abs(net.forward(x[None]) - expected).max() <= step * 1.001


def test_two_layers_with_one_weight_and_inputs_of_other_sizes(tmp_path):
    w = weights_of("Gemm", [1, 2])[:, :4].copy()
    constants = {"w": w, "b": BIAS, "c": -BIAS}
    nodes = [
        node("Gemm", ["x", "w", "b"], "h", "one", transB=1),
        node("Gemm", ["h", "w", "c"], "y", "two", transB=1),
    ]
    path = saved(model(nodes, [1, 4], constants), tmp_path)
    x = (np.random.default_rng(1).normal(size=(60, 4)) * 400).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    prepared = prepare(path, Changes(precision="int8", calibrate=tmp_path / "x.npz"))
    assert prepared.calibration.steps < 1


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_a_file_with_a_real_bias_beside_integers(scale, tmp_path):
    """Quantisers that leave the bias in float32: the steps that it is given here must hold it."""
    w = np.random.default_rng(0).integers(-100, 100, (4, 6)).astype(np.int8)
    w[1:3] = 0
    scales = np.array([1e-4, scale, scale, 1e-4], np.float32)
    nodes = [
        node("QuantizeLinear", ["x", "xs", "z"], "xq"),
        node("DequantizeLinear", ["xq", "xs", "z"], "xr"),
        node("DequantizeLinear", ["w", "ws"], "wr", axis=0),
        node("Gemm", ["xr", "wr", "b"], "h", "layer", transB=1),
        node("QuantizeLinear", ["h", "ys", "z"], "yq"),
        node("DequantizeLinear", ["yq", "ys", "z"], "y"),
    ]
    constants = {"w": w, "ws": scales, "b": BIAS}
    constants |= {"xs": np.float32(10.0), "ys": np.float32(0.05), "z": np.int8(3)}
    path = saved(model(nodes, [1, 6], constants), tmp_path)
    graph = import_model(path)
    assert "QLinearConv" in {each.op for each in graph.nodes}
    net = HostNet(graph, UpdatePlan(loss="mse"), tmp_path / "net")
    x = (np.random.default_rng(2).normal(size=(1, 6)) * 400).astype(np.float32)
    assert np.abs(net.forward(x) - run_onnx(path, x)).max() <= 0.05 * 1.001
