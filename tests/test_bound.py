"""The bound on each step: plain until it is reached, PyTorch with the rule then, safe far out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import tinyodl
from tests.beside.board import person
from tests.builds import build
from tests.hostnet import HostNet
from tests.onnx_torch import TorchModel
from tests.projects import two_layers
from tinyodl.device.codes import Flag
from tinyodl.frontend import import_model
from tinyodl.graph import Graph
from tinyodl.learning.bound import REACH, SEEN, bounded
from tinyodl.learning.tensors import LOSS
from tinyodl.learning.training import differentiate
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import dump_plan, load_plan
from tinyodl.report import remarks
from tinyodl.resources import EXAMPLES
from tinyodl.runs.log import read

HERE = Path(__file__).parent
DIGITS = HERE / "models" / "digits_mlp_64_32_10.onnx"
FAR = -9999.0
LOSSES = {
    "cross-entropy": {"limit": 4.0, "most": 16.0, "far": 64.0},
    "binary-cross-entropy": {"limit": 3 * 8.0, "most": 3 * 32.0, "far": 64.0},
    "mse": {"limit": 3 / 2, "most": 3.0, "far": np.inf},
}


class Recorded(TorchModel):
    """Remembers what each dense layer reads, beside 1 for its bias."""

    def logits(self, x):
        self.reach = 0.0
        return super().logits(x)

    def _gemm(self, attrs, x, w, b=None):
        self.reach += 1 + float(x.detach().double().square().sum())
        return super()._gemm(attrs, x, w, b)


class Bounded(HostNet):
    """A network whose steps are bounded as its plan says."""

    def __init__(self, graph: Graph, plan: UpdatePlan, folder: Path) -> None:
        super().__init__(graph, plan, folder, passes=[lambda g: bounded(g, plan, LOSS)])
        self.told: list[Flag] = []

    def train(self, x, label=0, target=None):
        loss = super().train(x, int(label), target)
        self.told.append(self.flags)
        return loss

    def learned(self) -> dict[str, bytes]:
        kept = (tensor.name for tensor in self.parameters if tensor.name != SEEN)
        return {name: self.parameter(name).tobytes() for name in kept}


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(HERE / "data" / "sklearn_digits_8x8.npz") as data:
        x, y = data["x"][:count].reshape(-1, 1, 64) / 16, data["y"][:count]
    return x.astype("f4"), y.astype("i8")


def plan_of(graph: Graph, **rule) -> UpdatePlan:
    layers = {node.name: "weights" for node in graph.nodes if node.op == "Gemm"}
    return UpdatePlan(layers=layers, **rule)


def loss_of(kind, output, label, target):
    if kind == "cross-entropy":
        return torch.nn.functional.cross_entropy(output, torch.tensor([label]))
    if kind == "mse":
        return torch.nn.functional.mse_loss(output, torch.tensor(target).reshape(1, -1))
    wanted = torch.nn.functional.one_hot(torch.tensor([label]), output.shape[1]).float()
    return torch.nn.functional.binary_cross_entropy_with_logits(output, wanted)


def factor_of(kind, rate, reach, squares):
    """The rule of docs/bound.md."""
    rule, far = LOSSES[kind], rate * reach
    if far > rule["most"] or (far > rule["limit"] and far**2 * squares > rule["far"]):
        return rule["limit"] / far
    return 1.0


class Seen:
    """What squared errors and Adam are held to."""

    def __init__(self, times):
        self.times, self.count, self.mean = times, 0, 0.0

    def factor(self, now):
        most, factor = self.times * self.mean, 1.0
        if self.count >= 8 and now > most:
            now, factor = most, (most / now) ** 0.5
        self.count = min(self.count + 1, 64)
        self.mean += (now - self.mean) / self.count
        return factor


@pytest.mark.parametrize("optimizer, batch", [("sgd", 1), ("momentum", 4), ("adam", 1)])
def test_below_the_bound_the_bits_are_those_of_the_plain_optimiser(tmp_path, optimizer, batch):
    graph = import_model(DIGITS)
    rule = {"optimizer": optimizer, "learning_rate": 0.002, "batch": batch}
    on, off = (
        Bounded(graph, plan_of(graph, bound=bound, **rule), tmp_path / bound)
        for bound in ("on", "off")
    )
    for x, label in zip(*digits(40), strict=True):
        assert on.train(x, label) == off.train(x, label)
    assert set(on.told) == {Flag(0)}
    assert on.learned() == off.learned()


@pytest.mark.parametrize(
    "kind, optimizer",
    [
        *((kind, "sgd") for kind in LOSSES),
        *(("cross-entropy", optimizer) for optimizer in ("momentum", "adam")),
        ("mse", "adam"),
    ],
)
def test_above_it_the_step_is_that_of_pytorch_with_the_rule(tmp_path, kind, optimizer):
    """Three sizes of samples, so that some are bounded and some are not, by each of its parts."""
    model = two_layers(tmp_path / "model.onnx")
    graph = import_model(with_sigmoid(model) if kind == "binary-cross-entropy" else model)
    rate = 0.01 if optimizer == "adam" else 0.4
    rule = {"optimizer": optimizer, "learning_rate": rate, "loss": kind}
    net, reference = Bounded(graph, plan_of(graph, **rule), tmp_path / "net"), Recorded(model)
    leaves = list({id(leaf): leaf for leaf in reference.leaves.values()}.values())
    step = {
        "sgd": lambda: torch.optim.SGD(leaves, rate),
        "momentum": lambda: torch.optim.SGD(leaves, rate, momentum=0.9),
        "adam": lambda: torch.optim.Adam(leaves, rate),
    }[optimizer]()
    squared = kind == "mse"
    seen = Seen(100.0 if squared else 16.0) if squared or optimizer == "adam" else None
    random = np.random.default_rng(5)
    bounds = []
    for index in range(24):
        size = 300.0 if index in (12, 20) else (0.3, 1.0, 3.0)[index % 3]
        x = (size * random.normal(size=(1, 8))).astype("f4")
        label, target = int(random.integers(3)), random.normal(size=3).astype("f4")
        output = reference.logits(x)
        loss = loss_of(kind, output, label, target)
        squares = float(torch.autograd.grad(loss, output, retain_graph=True)[0].square().sum())
        factor = 1.0
        if optimizer != "adam":
            factor = factor_of(kind, rate, reference.reach, squares)
        if seen:
            squares *= factor**2
            factor *= seen.factor(reference.reach * squares if squared else reference.reach)
        step.zero_grad()
        (loss * factor).backward()
        step.step()
        found = net.train(x, label, target if kind == "mse" else None)
        assert found == pytest.approx(loss.item(), rel=1e-3, abs=1e-5)
        bounds.append(factor < 1.0)
        assert (Flag.BOUNDED in net.told[-1]) == bounds[-1], index
    assert any(bounds) and not all(bounds)
    for parameter in net.parameters:
        if parameter.origin is not None:
            leaf = reference.leaves[parameter.origin.node, parameter.origin.slot]
            expected = leaf.detach().numpy().reshape(parameter.shape)
            found = net.parameter(parameter.name)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def with_sigmoid(path: Path) -> Path:
    """A copy of the model with a Sigmoid at its end."""
    model = onnx.load(path)
    [output] = model.graph.output
    node = onnx.helper.make_node("Sigmoid", [output.name], ["p"], "sigmoid")
    model.graph.node.append(node)
    output.name = "p"
    copy = path.with_name("sigmoid.onnx")
    onnx.save(model, copy)
    return copy


@pytest.mark.parametrize("value", [1e30, 3e38])
def test_a_gradient_that_is_no_number_or_a_reach_beyond_all_is_not_learned(tmp_path, value):
    graph = import_model(DIGITS)
    net = Bounded(graph, plan_of(graph, learning_rate=0.01), tmp_path)
    before = net.learned()
    x = digits(1)[0][0].copy()
    x[0, 30] = value
    net.train(x, 3)
    assert net.told == [Flag.BOUNDED]
    assert net.learned() == before


def test_normalised_steps_are_divided_by_their_reach(tmp_path):
    graph = import_model(DIGITS)
    net = Bounded(graph, plan_of(graph, learning_rate=0.3, bound="normalised"), tmp_path)
    reference = Recorded(DIGITS)
    leaves = list(reference.leaves.values())
    for x, label in zip(*digits(12), strict=True):
        loss = loss_of("cross-entropy", reference.logits(x), int(label), None)
        gradients = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf -= 0.3 / reference.reach * gradient
        net.train(x, label)
    assert set(net.told) == {Flag(0)}
    for parameter in net.parameters:
        leaf = reference.leaves[parameter.origin.node, parameter.origin.slot].detach().numpy()
        expected = leaf.T if parameter.origin.transform == "transpose" else leaf
        found = net.parameter(parameter.name)
        np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"update": "last", "learning_rate": 0.02},
        {"update": "full"},
        {"optimizer": "momentum", "batch": 8, "update": "full"},
        {"optimizer": "adam", "learning_rate": 0.001, "update": "full"},
        {"learner": "transfer"},
        {"loss": "one-hot"},
    ],
    ids=["last", "full", "momentum", "adam", "transfer", "one-hot"],
)
def test_one_sample_far_out_leaves_what_was_learned(tmp_path, options):
    """With the bound alone: the gate learns it too. One of 300, all of it and one feature of it."""
    x, y = digits(700)
    tinyodl.compile(DIGITS, "host", tmp_path / "p", outliers="keep", **options)
    build(tmp_path / "p")
    after = []
    for index, features in enumerate((None, slice(64), slice(30, 31))):
        samples = x[:300].copy()
        if features is not None:
            samples[150, 0, features] = FAR
        with tinyodl.Session(tmp_path / "p", port="host") as session:
            session.client.reset()
            test = (x[300:].reshape(-1, 64), y[300:])
            given = (samples.reshape(-1, 64), y[:300])
            summary = session.train(*given, eval=test, run=tmp_path / f"run{index}")
        after.append(100 * summary.accuracy_after)
        assert summary.bounded == (features is not None)
    assert abs(after[1] - after[0]) <= 2 and abs(after[2] - after[0]) <= 2


def test_a_rate_a_thousand_times_too_high_is_bounded_and_said(tmp_path):
    x, y = digits(500)
    tinyodl.compile(DIGITS, "host", tmp_path / "p", update="full", learning_rate=10.0)
    build(tmp_path / "p")
    test = (x[300:].reshape(-1, 64), y[300:])
    with tinyodl.Session(tmp_path / "p", port="host") as session:
        given = (x[:300].reshape(-1, 64), y[:300])
        summary = session.train(*given, eval=test, run=tmp_path / "run")
    assert summary.accuracy_after > 0.8 and summary.bounded > 250
    told = " ".join(remarks.sentences([read(tmp_path / "run")]))
    assert f"{summary.bounded} of 300 steps were bounded: the rate is too high" in told


@pytest.mark.parametrize("options", [{"learning_rate": 0.02}, {"learner": "transfer"}])
def test_new_persons_of_the_watch_are_never_bounded(tmp_path, options):
    tinyodl.compile(EXAMPLES / "watch" / "watch_cnn_c7.onnx", "host", tmp_path / "p", **options)
    build(tmp_path / "p")
    for number in (8, 9, 10):
        with tinyodl.Session(tmp_path / "p", port="host") as session:
            session.client.reset()
            summary = session.train(*person(number, "learn"), run=tmp_path / f"run{number}")
        assert summary.bounded == 0
        assert "bounded" not in " ".join(remarks.sentences([read(tmp_path / f"run{number}")]))


def test_plans_keep_it_and_say_when_it_is_off(tmp_path):
    graph = import_model(DIGITS)
    for bound in ("on", "normalised", "off"):
        plan = plan_of(graph, bound=bound)
        (tmp_path / "plan.toml").write_text(dump_plan(plan))
        assert load_plan(tmp_path / "plan.toml") == plan
    training = differentiate(graph, plan)
    assert bounded(training, plan, LOSS) is training
    assert REACH in bounded(training, plan_of(graph), LOSS).tensors
    still = UpdatePlan()
    assert REACH not in bounded(differentiate(graph, still), still, LOSS).tensors
