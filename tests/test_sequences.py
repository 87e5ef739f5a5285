"""Recurrent and convolutional classifiers of time series, trained from random weights.

The generated C on the host and PyTorch see the same samples in the same order, begin with the same
weights, and have to reach the same accuracy within one point.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.hostnet import HostNet
from tinyodl.frontend import import_model
from tinyodl.project.plan import UpdatePlan
from tinyodl.select import choose

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared" / "data"


class Gru(nn.Module):
    """The last state of a GRU, classified."""

    def __init__(self, axes: int, classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(axes, 16, batch_first=True)
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        y, _ = self.gru(x.transpose(1, 2))
        return self.head(y[:, -1])


class Cnn(nn.Module):
    """Two convolutions over time and the mean of what they find."""

    def __init__(self, axes: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(axes, 12, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(12, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.features(x))


# Epochs and learning rate of Adam on batches of 4.
TRAINING = {
    (Gru, "BasicMotions"): (12, 0.01),
    (Cnn, "BasicMotions"): (12, 0.01),
    (Gru, "JapaneseVowels"): (10, 0.01),
    (Cnn, "JapaneseVowels"): (16, 0.003),
}


def series(name: str):
    """(x, y) to train on and to test on; each axis normalised by what is trained on."""
    files = [SHIPPED / f"ucr_{name}.npz", SHARED / f"ucr_{name}_eq.npz"]
    found = next((file for file in files if file.exists()), None)
    if found is None:
        pytest.skip(f"{files[-1].name} (../shared/data) is not here")
    with np.load(found) as data:
        parts = {key: data[key] for key in data.files}
    x = parts["x_train"].astype(np.float32)
    mean, deviation = x.mean((0, 2), keepdims=True), x.std((0, 2), keepdims=True)
    return [
        ((parts[f"x_{part}"].astype(np.float32) - mean) / deviation, parts[f"y_{part}"].astype(int))
        for part in ("train", "test")
    ]


def share_right(network, x, y) -> float:
    return 100 * float(np.mean([network(x[i : i + 1]) == y[i] for i in range(len(y))]))


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize(("kind", "name"), TRAINING)
def test_training_from_random_weights_ends_as_in_pytorch(tmp_path, kind, name):
    torch.manual_seed(1)
    torch.set_num_threads(1)
    train, test = series(name)
    reference = kind(train[0].shape[1], 1 + int(train[1].max()))
    path = tmp_path / "model.onnx"
    torch.onnx.export(reference, torch.tensor(train[0][:1]), path, opset_version=17, dynamo=False)
    epochs, rate = TRAINING[kind, name]
    graph = import_model(path)
    plan = UpdatePlan(layers=choose(graph, "full"), optimizer="adam", learning_rate=rate, batch=4)
    net = HostNet(graph, plan, tmp_path / "net", optimised=True)  # thousands of samples
    stepper = torch.optim.Adam(reference.parameters(), rate)
    order = np.random.default_rng(0)
    for _ in range(epochs):
        shuffled = order.permutation(len(train[1]))
        for chosen in shuffled[: len(shuffled) // 4 * 4].reshape(-1, 4):
            for i in chosen:
                net.train(train[0][i : i + 1], int(train[1][i]))
            stepper.zero_grad()
            logits = reference(torch.tensor(train[0][chosen]))
            nn.functional.cross_entropy(logits, torch.tensor(train[1][chosen])).backward()
            stepper.step()

    def ours(x):
        net.forward(x)
        return net.predicted()

    with torch.no_grad():
        theirs = float((reference(torch.tensor(test[0])).argmax(1).numpy() == test[1]).mean()) * 100
    assert theirs > 90
    assert abs(share_right(ours, *test) - theirs) <= 1
