"""Both of PyTorch's exporters: the generated C computes what PyTorch computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization import (
    FakeQuantize,
    MinMaxObserver,
    PerChannelMinMaxObserver,
    QConfig,
    QConfigMapping,
    disable_observer,
)
from torch.ao.quantization.quantize_fx import prepare_qat_fx

from tests.frontend.models import assert_close
from tests.frontend.test_quantized import compare
from tests.hostnet import HostNet
from tinyodl.frontend import import_model
from tinyodl.project.plan import UpdatePlan


class Attention(nn.Module):
    """A row of tokens: dense layers on each, LayerNorm, softmax attention, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.rest = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 3))

    def forward(self, x):
        n = self.norm(x)
        weights = (self.query(n) @ self.key(n).transpose(1, 2) / 8**0.5).softmax(-1)
        return self.rest((x + weights @ self.value(n)).mean(1))


class Branches(nn.Module):
    """Convolutions side by side, split, concatenated and gated, over a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.left, self.right = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        a, b = x.chunk(2, 1)
        x = x + torch.cat((self.left(a), nn.functional.elu(self.right(b))), 1)
        return self.head((x * self.gate(x)).mean((2, 3)))


class Series(nn.Module):
    """A 1-D network with a GRU on top, whose last state is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(3, 6, 5, 2, 2), nn.InstanceNorm1d(6, affine=True), nn.LeakyReLU(0.1)
        )
        self.gru = nn.GRU(6, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        states, _ = self.gru(self.body(x).transpose(1, 2))
        return self.head(states[:, -1])


NETWORKS = {"attention": (Attention, (6, 8)), "branches": (Branches, (2, 9, 9)),
            "series": (Series, (3, 12))}  # fmt: skip


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore")
def test_both_exporters(tmp_path, name, dynamo):
    torch.manual_seed(2)
    make, shape = NETWORKS[name]
    network = make().eval()
    path = tmp_path / "model.onnx"
    sample = torch.randn(1, *shape)
    torch.onnx.export(network, (sample,), str(path), dynamo=dynamo, verbose=False,
                      opset_version=18 if dynamo else 17)  # fmt: skip
    graph = import_model(path)
    net = HostNet(graph, UpdatePlan(layers={}, loss="mse"), tmp_path / "net")
    with torch.no_grad():
        expected = network(sample).numpy()
    assert_close(net.forward(sample.numpy()).reshape(expected.shape), np.asarray(expected))


class Residual(nn.Module):
    """Convolutions around a residual, pooled and classified."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        a = torch.relu(self.first(x))
        y = torch.relu(self.second(a) + a)
        return self.head(nn.functional.max_pool2d(y, 2).mean((2, 3)))


WEIGHTS = {"quant_min": -128, "quant_max": 127, "dtype": torch.qint8}
OF_WEIGHTS = {
    "per channel": FakeQuantize.with_args(
        observer=PerChannelMinMaxObserver, qscheme=torch.per_channel_symmetric, **WEIGHTS
    ),
    "per tensor": FakeQuantize.with_args(
        observer=MinMaxObserver, qscheme=torch.per_tensor_symmetric, **WEIGHTS
    ),
}


@pytest.mark.parametrize("weights", OF_WEIGHTS)
@pytest.mark.filterwarnings("ignore")
def test_networks_trained_with_fake_quantisation(tmp_path, weights):
    """PyTorch's uint8 activations, float32 weights that nodes round: all of it becomes int8."""
    torch.manual_seed(2)
    activations = FakeQuantize.with_args(
        observer=MinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8
    )
    rounding = QConfigMapping().set_global(QConfig(activations, OF_WEIGHTS[weights]))
    network = prepare_qat_fx(Residual().train(), rounding, (torch.randn(1, 3, 8, 8),))
    for _ in range(3):
        network(torch.randn(4, 3, 8, 8))
    network.eval().apply(disable_observer)
    path, sample = tmp_path / "model.onnx", torch.randn(1, 3, 8, 8)
    torch.onnx.export(network, (sample,), str(path), dynamo=False, opset_version=17)
    graph = import_model(path)
    assert {n.op for n in graph.nodes} <= {
        *("QLinearConv", "QLinearAdd", "QLinearMaxPool", "QLinearAveragePool", "QLinearLookup"),
        *("Reshape", "DequantizeLinear"),
    }
    assert compare(graph, path).most <= 1
    net = HostNet(graph, UpdatePlan(layers={}, loss="mse"), tmp_path / "net")
    step = graph.tensor(graph.nodes[-1].inputs[0]).quantization.scale[0]
    samples = [torch.randn(1, 3, 8, 8) for _ in range(8)]
    off = [np.abs(net.forward(x.numpy()) - network(x).detach().numpy()) / step for x in samples]
    # One step of the mean, which shares the range of the maps before it, is several of the output.
    assert np.max(off) < 4.01 and np.mean(off) < 0.6
