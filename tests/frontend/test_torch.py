"""Networks as PyTorch's exporter writes them: PyTorch, onnxruntime and the IR agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.frontend.interpreter import evaluate
from tests.frontend.models import assert_close, run_onnx, sample
from tinyodl.frontend import import_model


class Residual(nn.Module):
    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU6(),
            nn.Conv2d(2 * channels, 2 * channels, 3, 1, 2, 2, groups=2 * channels, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.Hardtanh(-0.5, 0.75),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def forward(self, x):
        return x + self.body(x)


class Folded(nn.Module):
    def forward(self, x):
        return x.view(x.size(0), -1, x.size(1) // 4)


class SpatialMean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)).view(x.size(0), -1)


NETWORKS = {
    "residual image": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            Residual(8),
            nn.Dropout(0.5),
            Residual(8),
            SpatialMean(),
            nn.Linear(8, 5),
            nn.Softmax(dim=-1),
        ),
        (3, 12, 10),
    ),
    "one-dimensional series": (
        nn.Sequential(
            nn.Conv1d(4, 8, 5, 2, 2, bias=False),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(3, 2, 1),
            nn.Conv1d(8, 8, 3, dilation=2, groups=4),
            nn.BatchNorm1d(8),
            nn.AvgPool1d(2, 2, 1),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        (4, 50),
    ),
    "dense layers": (
        nn.Sequential(
            nn.Flatten(),
            nn.Linear(12, 16, bias=False),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            Folded(),
            nn.Flatten(),
            nn.Linear(16, 4),
        ),
        (3, 4),
    ),
    "pools": (
        nn.Sequential(
            nn.Conv2d(2, 4, (3, 2), padding="same"),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.AvgPool2d(3, 2, 1, count_include_pad=False),
            nn.AvgPool2d((1, 2), 1, (0, 1)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ),
        (2, 13, 11),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.filterwarnings("ignore")  # the exporter that needs no onnxscript is deprecated
def test_torch_networks(tmp_path: Path, name: str, opset: int, folded: bool):
    torch.manual_seed(1)
    network, shape = NETWORKS[name]
    network.train()
    with torch.no_grad():
        network(torch.randn(16, *shape) * 2 + 1)  # gives the normalisations a mean and a variance
    network.eval()
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        network,
        (torch.randn(1, *shape),),
        str(path),
        dynamo=False,
        opset_version=opset,
        input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
        do_constant_folding=folded,
        training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
    )
    graph = import_model(path)
    x = sample(graph)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    assert_close(evaluate(graph, x), expected)
    assert_close(run_onnx(path, x), expected)
    assert np.isfinite(expected).all()
