"""A loss fits the network's output, or is refused; a single output tells two classes apart."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantFormat

import tinyodl
from tests.frontend.models import model, node, saved, weights
from tests.frontend.quantized_models import by_onnxruntime
from tests.test_learners import flashed
from tinyodl.cli.main import tinyodl as command_line
from tinyodl.errors import DataError, UserError
from tinyodl.learning.losses import expected_labels
from tinyodl.runs import log as runlog
from tinyodl.session.session import Session


def single(folder, *, sigmoid=True, hidden=5):
    """(n, 4) -> one value, behind a Sigmoid or not."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], "first", transB=1),
        node("Tanh", ["h"], "t"),
        helper.make_node("Gemm", ["t", "v", "c"], ["z"], "last", transB=1),
    ]
    if sigmoid:
        nodes.append(node("Sigmoid", ["z"], "p"))
    constants = {
        "w": random.normal(0, 0.5, (hidden, 4)).astype(np.float32),
        "b": np.zeros(hidden, np.float32),  # so that as many outputs are above 0 as below
        "v": random.normal(0, 0.5, (1, hidden)).astype(np.float32),
        "c": np.zeros(1, np.float32),
    }
    return saved(model(nodes, ["N", 4], constants, output="p" if sigmoid else "z"), folder)


def with_output(folder, shape):
    """A network whose output is reshaped to (1, *shape)."""
    size = int(np.prod(shape))
    constants = {"w": weights(size, 4), "s": np.array([1, *shape])}
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["g"], "gemm", transB=1),
        node("Reshape", ["g", "s"], "y"),
    ]
    return saved(model(nodes, [1, 4], constants, output="y"), folder)


def stream(count=60, seed=0):
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, count)
    x = random.normal(size=(count, 4)).astype(np.float32)
    x[:, 0] += 2 * y - 1
    return x, y


class InTorch(torch.nn.Module):
    """The network of `single` with the weights of its file."""

    def __init__(self, path, hidden=5):
        super().__init__()
        self.first, self.last = torch.nn.Linear(4, hidden), torch.nn.Linear(hidden, 1)
        held = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        for parameter, name in zip(self.parameters(), "wbvc", strict=True):
            parameter.data = torch.tensor(held[name])

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


@pytest.mark.parametrize("sigmoid", [True, False])
def test_a_single_output_learns_labels_0_and_1_as_pytorch_does(tmp_path, sigmoid):
    path = single(tmp_path, sigmoid=sigmoid)
    options = {} if sigmoid else {"loss": "binary-cross-entropy"}
    folder = flashed(path, tmp_path / "p", update="full", learning_rate=0.2, **options)
    x, y = stream()
    net = InTorch(path)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    losses, predicted = [], []
    for sample, label in zip(x, y, strict=True):
        z = net(torch.tensor(sample[None]))[0, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(float(label)))
        losses.append(loss.item())
        predicted.append(int(z > 0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tested, truth = stream(seed=1)
    with Session(folder, port="host") as session:
        session.train(x, y, run=tmp_path / "run")
        evaluation = session.evaluate(tested, truth)
        session.export(tmp_path / "learned.onnx")
        outputs = session.infer(tested)
    steps = runlog.read(tmp_path / "run").steps
    assert [step.predicted for step in steps] == predicted
    np.testing.assert_allclose([step.loss for step in steps], losses, rtol=2e-5, atol=1e-6)
    wanted = (net(torch.tensor(tested))[:, 0] > 0).numpy()
    assert evaluation.accuracy == np.mean(wanted == truth)
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (truth, wanted.astype(int)), 1)
    assert evaluation.confusion == tuple(map(tuple, counts.tolist()))
    running = onnxruntime.InferenceSession(str(tmp_path / "learned.onnx"))
    exported = np.concatenate([running.run(None, {"x": row[None]})[0] for row in tested])
    np.testing.assert_allclose(outputs, exported, rtol=1e-5, atol=1e-6)
    assert np.array_equal(exported[:, 0] > (0.5 if sigmoid else 0), wanted)


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_an_int8_output_behind_a_sigmoid_is_a_probability(tmp_path, form):
    int8 = by_onnxruntime(single(tmp_path, hidden=40), tmp_path / "int8.onnx", form)
    folder = flashed(int8, tmp_path / "p")
    x, y = stream()
    with Session(folder, port="host") as session:
        manifest, evaluation = session.manifest, session.evaluate(x, y)
        session.train(x, y, run=tmp_path / "run", learning_rate=0.0)
    assert manifest.plan.loss == "binary-cross-entropy"
    header = (folder / "lib/net/net.h").read_text()
    assert "1 where the output is above 0.5, else 0" in header
    assert expected_labels(manifest).endswith("1 is predicted where the output is above 0.5.")
    plain = onnxruntime.SessionOptions()  # onnxruntime's fused int8 kernels saturate on AVX2
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    running = onnxruntime.InferenceSession(str(int8), plain)
    p = np.concatenate([running.run(None, {"x": row[None]})[0][0] for row in x])
    clear = np.abs(p - 0.5) > 2 / 256  # elsewhere one step of rounding may turn it
    assert clear.sum() > 40 and 0 < (p > 0.5).sum() < len(p)
    steps = runlog.read(tmp_path / "run").steps
    assert [step.predicted for step in np.array(steps)[clear]] == list((p > 0.5)[clear])
    assert abs(evaluation.accuracy - np.mean((p > 0.5) == y)) <= np.mean(~clear)
    right = np.where(y == 1, p, 1 - p)
    within = 3 / 256 / right.min()  # the logit is rounded too
    np.testing.assert_allclose([step.loss for step in steps], -np.log(right), atol=within)


def test_without_a_loss_one_output_behind_a_sigmoid_takes_binary_cross_entropy(tmp_path):
    manifest = tinyodl.plan(single(tmp_path), "host")
    assert manifest.plan.loss == "binary-cross-entropy" and manifest.classes == 2
    assert expected_labels(manifest) == (
        "Labels are 0 and 1; 1 is predicted where the output is above 0.5."
    )


@pytest.mark.parametrize("options", [{"optimizer": "momentum", "cache": 8}, {"batch": 4},
                                     {"optimizer": "adam"}, {"unlabelled": True}])  # fmt: skip
def test_a_single_output_learns_with_every_rule(tmp_path, options):
    folder = flashed(single(tmp_path), tmp_path / "p", learning_rate=0.05, **options)
    x, y = stream(200)
    with Session(folder, port="host") as session:
        done = session.train(x, y, epochs=3, eval=(x, y), run=tmp_path / "run")
    assert done.accuracy_after is not None and done.accuracy_after > 0.75
    assert done.loss_after < done.loss_before


def test_a_label_other_than_0_and_1_is_refused_on_both_sides(tmp_path):
    folder = flashed(single(tmp_path), tmp_path / "p")
    x, _ = stream(3)
    with Session(folder, port="host") as session:
        with pytest.raises(DataError, match=r"y\[2\] is 2, the model has classes 0 to 1"):
            session.train(x, np.array([0, 1, 2]), run=tmp_path / "run")
        assert session.hello.classes == 2
        with pytest.raises(DataError, match="not a class from 0 to 1"):
            session.client.train(x[0], 2)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1,), {}, "one value. These fit: --loss binary-cross-entropy (labels 0 and 1; the value"),
        ((1,), {"loss": "cross-entropy"}, "--loss mse (a target of that shape"),
        ((1,), {"loss": "one-hot"}, "These fit: --loss binary-cross-entropy"),
        ((10, 3), {}, "'y' is (1, 10, 3), 30 values that are no row of scores. These fit: --loss"),
        ((2, 2, 2), {}, "'y' is (1, 2, 2, 2)"),
        ((1, 6), {"loss": "one-hot"}, "'y' is (1, 1, 6)"),
        ((2, 2), {}, "--loss reconstruction (of an autoencoder)"),
        ((3, 2), {"loss": "binary-cross-entropy"}, "loss binary-cross-entropy needs an output"),
        ((1,), {"learner": "rls"}, "--classes 2"),
        ((1,), {"learner": "online", "max_classes": 1}, "--classes 2"),
        ((1,), {"loss": "binary-cross-entropy", "query": "always"}, "--query compares the scores"),
        ((1,), {"loss": "binary-cross-entropy", "metrics": True}, "--metrics compares the scores"),
    ],
)
def test_a_loss_that_cannot_fit_the_output_is_refused_and_those_that_fit_are_named(
    tmp_path, shape, options, message
):
    with pytest.raises(UserError) as refused:
        tinyodl.plan(with_output(tmp_path, shape), "host", **options)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        ((3,), {}, "Labels are class numbers, 0 to 2."),
        ((3, 1, 1), {}, "Labels are class numbers, 0 to 2."),
        ((3,), {"unlabelled": True}, "Labels are class numbers, 0 to 2, or -1 for none."),
        ((2, 3), {"loss": "mse"}, "Each sample comes with a target of 2 x 3 numbers."),
        ((1,), {"loss": "binary-cross-entropy"}, "1 is predicted where the output is above 0, of "),
        ((4,), {"loss": "reconstruction"}, "The target is the sample itself;"),
        ((3,), {"learner": "rls", "max_classes": 9}, "any numbers from 0, at most 9 different"),
    ],
)
def test_a_plan_says_what_labels_are_expected(tmp_path, shape, options, sentence):
    path = with_output(tmp_path, shape)
    assert sentence in expected_labels(tinyodl.plan(path, "host", **options))


def test_plan_and_compile_print_what_labels_are_expected(tmp_path):
    from click.testing import CliRunner

    path = with_output(tmp_path, (3,))
    for arguments in (["plan"], ["compile", "-o", str(tmp_path / "p")]):
        done = CliRunner().invoke(command_line, [*arguments, str(path), "--board", "host"])
        assert "Labels are class numbers, 0 to 2." in done.stdout


def test_a_plan_file_without_a_loss_takes_the_one_that_fits(tmp_path):
    path = single(tmp_path)
    (tmp_path / "plan.toml").write_text('[layers]\nlast = "weights"\n')
    manifest = tinyodl.plan(path, "host", update=str(tmp_path / "plan.toml"))
    assert manifest.plan.loss == "binary-cross-entropy"
    (tmp_path / "plan.toml").write_text('loss = "cross-entropy"\n[layers]\nlast = "weights"\n')
    with pytest.raises(UserError, match="These fit: --loss binary-cross-entropy"):
        tinyodl.plan(path, "host", update=str(tmp_path / "plan.toml"))
