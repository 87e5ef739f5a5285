"""Activations with a scale for each channel, as nncf gives them to depthwise convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from tests.frontend.interpreter import evaluate
from tests.frontend.models import run_onnx, saved
from tests.frontend.quantized_models import Builder
from tests.frontend.test_quantized import compare, ops
from tests.hostnet import HostNet
from tinyodl.frontend import import_model
from tinyodl.graph import Storage
from tinyodl.learning.tensors import state_name
from tinyodl.project.plan import UpdatePlan

SHAPE = [1, 2, 6, 6]


class Channels(Builder):
    """Both layers of an inverted bottleneck around a map with a scale for each channel."""

    def rounded_by_channel(self, x: str, scale: np.ndarray, output: str = "") -> str:
        """Q and DQ behind a Relu: uint8 from 0."""
        steps = self.steps(scale, 0, "uint8")
        q = self.add("QuantizeLinear", x, *steps, axis=1)
        return self.add("DequantizeLinear", q, *steps, axis=1, output=output)

    def weight(self, *shape: int) -> str:
        steps = self.steps(self.scales(shape[0]), 0, "int8")
        held = self.hold(self.integers("int8", *shape))
        return self.add("DequantizeLinear", held, *steps, axis=0)

    def bias(self, size: int) -> str:
        return self.hold(self.rng.normal(0, 0.2, size).astype(np.float32))


def bottleneck(folder: Path, *, between: str = "", times: int = 1, bounded: bool = False) -> Path:
    b = Channels("uint8", opset=17)
    a = b.add("Conv", b.rounded("x", 0.02, 5), b.weight(4, 2, 3, 3), b.bias(4), pads=[1] * 4)
    a = b.add("Clip", a, *(b.hold(np.float32(v)) for v in (0, 6))) if bounded else b.add("Relu", a)
    top = 6 / 255 if bounded else 0.06
    a = b.rounded_by_channel(a, np.float32([0.3, 0.7, 1, 0.5]) * np.float32(top))
    if between == "MaxPool":
        a = b.add("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2])
        a = b.rounded_by_channel(a, np.float32([0.3, 0.7, 1, 0.5]) * np.float32(top))
    if between == "Reshape":
        a = b.add("Reshape", a, b.hold(np.int64([1, 4, 4, 9])))
    c = b.add("Conv", a, b.weight(4 * times, 1, 3, 3), b.bias(4 * times), group=4, pads=[1] * 4)
    c = b.rounded(b.add("Relu", c), 0.05, -128)
    d = b.rounded(b.add("Flatten", b.add("GlobalAveragePool", c)), 0.02, -128)
    y = b.add("Gemm", d, b.weight(3, 4 * times), transB=1)
    return saved(b.built(SHAPE, b.rounded(y, 0.05, 0)), folder)


@pytest.mark.parametrize(
    "made", [{}, {"between": "MaxPool"}, {"between": "Reshape"}, {"times": 2}, {"bounded": True}],
    ids=str,
)  # fmt: skip
def test_both_layers_are_int8(tmp_path, made):
    path = bottleneck(tmp_path, **made)
    graph = import_model(path)
    assert ops(graph).count("QLinearConv") == 3
    assert not {"QuantizeChannels", "DequantizeChannels", "Conv"} & set(ops(graph))
    found = compare(graph, path)
    assert found.most <= 1 and found.different <= 2


def test_elsewhere_the_scales_are_constants(tmp_path):
    """A pointwise layer sums its channels: it computes in float32, and so does what it reads."""
    b = Channels("uint8")
    a = b.rounded_by_channel(b.add("Relu", "x"), np.float32([0.01, 0.02]))
    c = b.rounded(b.add("Conv", a, b.weight(3, 2, 1, 1)), 0.05, -3)
    path = saved(b.built(SHAPE, c), tmp_path)
    graph = import_model(path)
    assert ops(graph) == ["Relu", "QuantizeChannels", "DequantizeChannels", "Conv",
                          "QuantizeLinear", "DequantizeLinear"]  # fmt: skip
    net = HostNet(graph, UpdatePlan(layers={}, loss="mse"), tmp_path / "net")
    for seed in range(2):
        x = np.random.default_rng(seed).normal(0, 2, SHAPE).astype(np.float32)
        expected = run_onnx(path, x)
        for made in (net.forward(x), evaluate(graph, x)):
            off = np.abs(made - expected) / 0.05
            assert off.max() < 1.01 and np.count_nonzero(off > 0.01) <= 1


def test_channels_that_move_are_refused(tmp_path):
    b = Channels("uint8")
    steps = b.steps(np.float32([0.01, 0.02]), 0, "uint8")
    q = b.add("QuantizeLinear", "x", *steps, axis=1)
    q = b.add("Transpose", q, perm=[0, 2, 1, 3])
    with pytest.raises(Exception, match="moves the channels"):
        import_model(saved(b.built(SHAPE, b.add("DequantizeLinear", q, *steps, axis=2)), tmp_path))


@pytest.mark.parametrize("scaling", [True, False])
def test_gradients_are_pytorchs(tmp_path, scaling):
    """Of all three layers, through both sides of the map with a scale for each channel."""
    graph = import_model(bottleneck(tmp_path))
    layers = [n for n in graph.nodes if n.op == "QLinearConv"]
    plan = UpdatePlan(layers={n.name: "weights" for n in layers}, batch=2, scaling=scaling)
    net = HostNet(graph, plan, tmp_path / "net")
    x = np.random.default_rng(3).uniform(-2, 2, SHAPE).astype(np.float32)

    def real(name: str) -> torch.Tensor:
        tensor = graph.tensor(name)
        scale = tensor.quantization.scales(tensor.shape[0]).astype(np.float64)
        return torch.tensor(tensor.data * scale.reshape(-1, *(1,) * (tensor.data.ndim - 1)))

    def rounded(values: torch.Tensor, name: str) -> torch.Tensor:
        of = graph.tensor(name).quantization
        scale = torch.tensor(of.scale, dtype=torch.float64)
        scale = scale.reshape(1, -1, *(1,) * (values.ndim - 2))
        steps = torch.clamp(torch.round(values / scale), -128 - of.zero_point, 127 - of.zero_point)
        passing = values.clamp(min=0) if of.zero_point == -128 else values
        inside = (values / scale + of.zero_point).abs() < 128
        return passing * inside + (steps * scale - passing * inside).detach()

    weights = [real(n.inputs[1]).requires_grad_() for n in layers]
    biases = [real(n.inputs[2]) if n.inputs[2] else None for n in layers]
    a = rounded(torch.tensor(x).double(), layers[0].inputs[0])
    a = rounded(functional.conv2d(a, weights[0], biases[0], padding=1), layers[0].outputs[0])
    a = rounded(functional.conv2d(a, weights[1], biases[1], padding=1, groups=4),
                layers[1].outputs[0])  # fmt: skip
    a = rounded(a.mean((2, 3)), layers[2].inputs[0])
    logits = rounded(a @ weights[2][:, :, 0, 0].T, graph.producer[graph.outputs[0]].inputs[0])
    label = int(logits.argmin())
    loss = functional.cross_entropy(logits, torch.tensor([label]))
    loss.backward()
    assert net.train(x, label) == pytest.approx(loss.item(), rel=1e-5)
    held = {t.name for t in net.parameters if t.storage is Storage.STATE}
    for layer, weight in zip(layers, weights, strict=True):
        summed = state_name(layer.inputs[1], "sum")
        assert summed in held
        scale = graph.tensor(layer.inputs[1]).quantization.scales(len(weight)).reshape(-1, 1, 1, 1)
        expected = weight.grad.numpy() * (1 / scale if scaling else scale)
        np.testing.assert_allclose(net.parameter(summed), expected, rtol=1e-4,
                                   atol=2e-5 * np.abs(expected).max())  # fmt: skip
