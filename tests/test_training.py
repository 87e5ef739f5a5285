"""Whole models, trained by the generated C and by PyTorch on the same samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.hostnet import HostNet
from tests.models import LARGE, SHIPPED, WATCH, name, shared_only
from tests.onnx_torch import TorchModel
from tinyodl.frontend import import_model
from tinyodl.graph import Origin
from tinyodl.project.plan import UpdatePlan
from tinyodl.resources import EXAMPLES
from tinyodl.select import choose

OPTIMIZERS = {
    "sgd": lambda leaves, rate: torch.optim.SGD(leaves, rate),
    "momentum": lambda leaves, rate: torch.optim.SGD(leaves, rate, momentum=0.9),
    "adam": lambda leaves, rate: torch.optim.Adam(leaves, rate),
}


def samples(shape, classes, count):
    rng = np.random.default_rng(7)
    for _ in range(count):
        yield rng.normal(size=shape).astype(np.float32), int(rng.integers(classes))


def clearest(reference, drawn):
    """Of each eight samples, the one that stays farthest from the kinks of Relu and Clip.

    Where an activation comes within rounding of a kink, two correct float32 programs may take
    different sides, and large gradients then differ visibly.
    """
    while eight := list(itertools.islice(drawn, 8)):
        margins = []
        with torch.no_grad():
            for x, _ in eight:
                reference.logits(x)
                margins.append(reference.margin)
        yield eight[int(np.argmax(margins))]


def watch_samples(count):
    with np.load(EXAMPLES / "watch" / "person8_learn.npz") as data:
        order = np.random.default_rng(0).permutation(len(data["y"]))[:count]
        x = data["x"].astype(np.float32)
        return [(x[i : i + 1], int(data["y"][i])) for i in order]


def train_both(
    path, updates, stream, folder, *, optimizer="sgd", rate=0.01, batch=1, choose_samples=None
):
    """Train on `stream` in both; returns the losses and pairs of learned (found, expected)."""
    graph = import_model(path, learns=lambda layer: updates == "full")
    plan = UpdatePlan(
        layers=choose(graph, updates), optimizer=optimizer, learning_rate=rate, batch=batch
    )
    net = HostNet(graph, plan, folder)
    reference = TorchModel(path)
    learned = [p for p in net.parameters if p.origin is not None]
    leaves = [reference.leaves[p.origin.node, p.origin.slot] for p in learned]
    stepper = OPTIMIZERS[optimizer](leaves, rate)
    losses = []
    for x, label in choose_samples(reference, stream) if choose_samples else stream:
        logits = reference.logits(x).reshape(1, -1)
        found = net.train(x, label)
        expected = torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
        (expected / batch).backward()
        losses.append((found, expected.item()))
        if len(losses) % batch == 0:
            stepper.step()
            stepper.zero_grad()
    pairs = {
        p.name: (net.parameter(p.name), to_ir(leaf.detach().numpy(), p.origin, p.shape))
        for p, leaf in zip(learned, leaves, strict=True)
    }
    return losses, pairs


def to_ir(value: np.ndarray, origin: Origin, shape):
    """The ONNX value as tinyodl holds it."""
    value = value.T if origin.transform == "transpose" else value
    return (value * origin.scale).reshape(shape)


def assert_agree(losses, pairs, rtol=1e-4):
    for found, expected in losses:
        assert found == pytest.approx(expected, rel=rtol, abs=1e-5)
    assert pairs
    for parameter, (found, expected) in pairs.items():
        scale = max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(
            found, expected, rtol=rtol, atol=rtol * 0.1 * scale, err_msg=parameter
        )


@pytest.mark.parametrize("updates", ["last", "bias", "full"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_twenty_steps_of_the_watch_model_agree_with_pytorch(tmp_path, updates, optimizer):
    rate = 0.001 if optimizer == "adam" else 0.01
    stream = watch_samples(20)
    trained = train_both(WATCH, updates, stream, tmp_path, optimizer=optimizer, rate=rate)
    assert_agree(*trained)


def test_a_batch_of_four_agrees_with_pytorch(tmp_path):
    assert_agree(*train_both(WATCH, "full", watch_samples(20), tmp_path, batch=4))


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_five_full_steps_of_every_shipped_model_agree_with_pytorch(tmp_path, path):
    five_full_steps(tmp_path, path)


@shared_only
@pytest.mark.parametrize("path", LARGE, ids=name)
def test_five_full_steps_of_every_large_model_agree_with_pytorch(tmp_path, path):
    five_full_steps(tmp_path, path)


def five_full_steps(folder, path):
    graph = import_model(path)
    shape = graph.shape(graph.inputs[0])
    drawn = samples(shape, graph.tensor(graph.outputs[0]).size, 40)
    losses, pairs = train_both(path, "full", drawn, folder, rate=1e-4, choose_samples=clearest)
    assert len(losses) == 5
    assert_agree(losses, pairs)
