"""The layer of --learner online in generated C, against PyTorch and numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from onnx import helper

from tests.frontend.models import model, node, norm, norm_node, saved, weights
from tests.hostnet import HostNet
from tinyodl.errors import UserError
from tinyodl.frontend import Changes, Head, prepare
from tinyodl.learning.training import differentiate
from tinyodl.project.plan import UpdatePlan

HEAD = "head.dense1"
NORM = "head.standardize"
EPSILON = 1e-5


def online(folder, inputs, outputs, *, sigmoid=False, **rule):
    """A fresh standardised layer that begins at zero, on the sample itself."""
    flat = model([node("Identity", ["x"], "f"), node("Gemm", ["f", "w"], "y")],
                 ["N", inputs], {"w": weights(inputs, outputs)})  # fmt: skip
    head = Head((outputs,), zero=True, standardized=True, sigmoid=sigmoid)
    prepared = prepare(saved(flat, folder), Changes(head=head, taps=("x",)))
    layers = {HEAD: "weights", NORM: "statistics"}
    plan = UpdatePlan(layers=layers, learning_rate=0.05, **rule)
    return HostNet(prepared.under(plan), plan, folder / "net")


def stream(inputs, classes, count, seed=0):
    rng = np.random.default_rng(seed)
    means, scale = rng.normal(size=(classes, inputs)), 10.0 ** rng.integers(-2, 3, inputs)
    labels = rng.integers(classes, size=count)
    x = (means[labels] + rng.normal(size=(count, inputs)) + 3) * scale
    return x.astype(np.float32), labels


class Oracle:
    """The same by PyTorch's autograd, with the statistics of all samples so far by numpy."""

    def __init__(self, inputs, outputs, loss, *, rate=0.05, in_use=None):
        self.w = torch.zeros(outputs, inputs, dtype=torch.float64, requires_grad=True)
        self.b = torch.zeros(outputs, dtype=torch.float64, requires_grad=True)
        self.loss, self.rate, self.seen = loss, rate, []
        self.rows = list(range(outputs)) if in_use is None else list(in_use)
        self.open = in_use is not None

    @property
    def statistics(self):
        seen = np.asarray(self.seen, np.float64)
        return seen.mean(axis=0), seen.var(axis=0)

    def scores(self, x):
        mean, variance = self.statistics
        return self.w @ torch.tensor((x - mean) / np.sqrt(variance + EPSILON)) + self.b

    def train(self, x, label):
        self.seen.append(x.astype(np.float64))
        if label < 0:
            return None
        if label not in self.rows:
            self.rows.append(label)
        z = self.scores(x)[: len(self.rows)]
        loss = self.loss(z, torch.tensor(self.rows.index(label)))
        loss.backward()
        with torch.no_grad():
            for parameter in (self.w, self.b):
                parameter -= self.rate * parameter.grad
                parameter.grad = None
        return loss.item()


def cross_entropy(z, row):
    return functional.cross_entropy(z[None], row[None])


def squared(z, row):
    return functional.mse_loss(z, functional.one_hot(row, len(z)).double())


def binary(z, row):
    target = functional.one_hot(row, len(z)).double()
    return functional.binary_cross_entropy_with_logits(z, target)


def same_weights(net, oracle):
    for name, wanted in ((f"{HEAD}.weight", oracle.w), (f"{HEAD}.bias", oracle.b)):
        wanted = wanted.detach().numpy()
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(net.parameter(name), wanted, rtol=1e-4, atol=2e-5 * scale)
    mean, variance = oracle.statistics
    np.testing.assert_allclose(net.parameter(f"{NORM}.mean"), mean, rtol=1e-4)
    np.testing.assert_allclose(net.parameter(f"{NORM}.mean.variance"), variance, rtol=1e-3)


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        ({}, cross_entropy),
        ({"loss": "one-hot"}, squared),
        ({"loss": "one-hot", "sigmoid": True}, lambda z, row: squared(torch.sigmoid(z), row)),
        ({"loss": "binary-cross-entropy", "sigmoid": True}, binary),
    ],
    ids=["softmax", "linear", "sigmoid", "binary"],
)
def test_a_stream_is_learned_as_by_autograd(tmp_path, rule, loss):
    net, oracle = online(tmp_path, 7, 4, **rule), Oracle(7, 4, loss)
    xs, labels = stream(7, 4, 120)
    for x, label in zip(xs, labels.tolist(), strict=True):
        assert net.train(x, label) == pytest.approx(oracle.train(x, label), rel=1e-4, abs=1e-6)
    same_weights(net, oracle)


@pytest.mark.parametrize(
    ("name", "loss"),
    [("cross-entropy", cross_entropy), ("one-hot", squared), ("binary-cross-entropy", binary)],
)
def test_labels_as_they_come_and_samples_without_one(tmp_path, name, loss):
    """Only outputs that have a label take part, in the order in which their labels came."""
    rule = {"loss": name, "sigmoid": loss is binary}
    net = online(tmp_path, 5, 6, unlabelled=True, labels=(), **rule)
    oracle = Oracle(5, 6, loss, in_use=())
    xs, labels = stream(5, 4, 150)
    labels = labels * 1000 + 7
    labels[::4] = -1
    for x, label in zip(xs, labels.tolist(), strict=True):
        before = list(oracle.rows)
        found, expected = net.train(x, label), oracle.train(x, label)
        if label < 0:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert net.predicted() in (before or [-1])
    same_weights(net, oracle)
    assert net.parameter("<labels>").tolist() == [*oracle.rows, -1, -1]
    assert not net.parameter(f"{HEAD}.weight")[4:].any()
    net.forward(xs[0])
    scores = oracle.scores(xs[0])[:4]
    assert net.predicted() == oracle.rows[int(scores.argmax())]


def test_what_is_evaluated_changes_nothing(tmp_path):
    net = online(tmp_path, 5, 3, unlabelled=True)
    xs, labels = stream(5, 3, 20)
    for x, label in zip(xs, labels.tolist(), strict=True):
        net.train(x, label)
    before = [net.parameter(each.name) for each in net.parameters]
    net.forward(xs[0])
    net.evaluate(xs[1], 2)
    for each, value in zip(net.parameters, before, strict=True):
        assert np.array_equal(net.parameter(each.name), value)


def test_without_a_label_only_the_statistics_learn(tmp_path):
    net = online(tmp_path, 5, 3, unlabelled=True)
    xs = stream(5, 3, 20)[0]
    for x in xs:
        assert np.isnan(net.train(x, -1))
    assert not net.parameter(f"{HEAD}.weight").any() and not net.parameter(f"{HEAD}.bias").any()
    np.testing.assert_allclose(net.parameter(f"{NORM}.mean"), xs.mean(axis=0), rtol=1e-5)
    assert net.parameter(f"<{NORM}.count>") == [20]


def test_forgetting_weighs_samples_by_their_age(tmp_path):
    net = online(tmp_path, 4, 2, forgetting=0.9)
    xs = stream(4, 2, 200)[0]
    mean, variance = np.zeros(4), np.zeros(4)
    for n, x in enumerate(xs.astype(np.float64), start=1):
        r = max(1 / n, 0.1)
        variance = (1 - r) * (variance + r * (x - mean) ** 2)
        mean = mean + r * (x - mean)
        net.train(x.astype(np.float32), 0)
    np.testing.assert_allclose(net.parameter(f"{NORM}.mean"), mean, rtol=1e-4)
    np.testing.assert_allclose(net.parameter(f"{NORM}.mean.variance"), variance, rtol=1e-3)
    ages = 0.9 ** np.arange(len(xs))[::-1]  # of long streams
    np.testing.assert_allclose(mean, np.average(xs, axis=0, weights=ages), rtol=1e-3)


def test_the_gradient_passes_through_to_layers_before(tmp_path):
    """A BatchNormalization of the model itself, with scale and bias, whose statistics learn."""
    constants = {"w": weights(6, 3), **norm(6), "u": weights(4, 6), "b": weights(6)}
    first = helper.make_node("Gemm", ["x", "u", "b"], ["h"], name="first")
    last = helper.make_node("Gemm", ["n", "w"], ["y"], name="last")
    bent = node("Tanh", ["h"], "t")
    path = saved(model([first, bent, norm_node("t", "n"), last], ["N", 4], constants), tmp_path)
    prepared = prepare(path, Changes())
    [norm_name] = [n.name for n in prepared.graph.nodes if n.op == "BatchNormalization"]
    layers = {"first": "weights", norm_name: "statistics", "last": "weights"}
    plan = UpdatePlan(layers=layers, learning_rate=0.1)
    net = HostNet(prepared.under(plan), plan, tmp_path / "net")
    x = np.random.default_rng(1).normal(size=4).astype(np.float32)
    leaf = {name: torch.tensor(value, dtype=torch.float64) for name, value in constants.items()}
    for name in ("u", "b", "w"):
        leaf[name].requires_grad_()
    t = torch.tanh(torch.tensor(x, dtype=torch.float64) @ leaf["u"] + leaf["b"])
    # The first sample alone: mean x, variance 0.
    n = (t - t.detach()) / np.sqrt(EPSILON) * leaf["bn.scale"] + leaf["bn.bias"]
    functional.cross_entropy((n @ leaf["w"])[None], torch.tensor([1])).backward()
    net.train(x, 1)
    for name, transpose in (("u", True), ("b", False), ("w", True)):
        wanted = (leaf[name] - 0.1 * leaf[name].grad).detach().numpy()
        wanted = wanted.T if transpose else wanted
        [held] = [p.name for p in net.parameters if p.shape == wanted.shape and p.origin
                  and p.origin.node in ("first", "last") and p.name.startswith(name)]  # fmt: skip
        np.testing.assert_allclose(net.parameter(held), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("layer", "message"),
    [("conv", "only a BatchNormalization has any"), ("bn", r"on a map of shape \(1, 3, 4, 4\)")],
)
def test_layers_without_statistics_of_a_row(tmp_path, layer, message):
    conv = helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 4)
    bn = norm_node("c", "y")
    bn.name = "bn"
    path = saved(model([conv, bn], ["N", 2, 4, 4], {"w": weights(3, 2, 3, 3), **norm(3)}), tmp_path)
    plan = UpdatePlan(layers={layer: "statistics"})
    with pytest.raises(UserError, match=message):
        differentiate(prepare(path, Changes()).under(plan), plan)
