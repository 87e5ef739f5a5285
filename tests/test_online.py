"""--learner online: from the ONNX file to what the board has learned, counted and told."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import tinyodl
from tests.builds import build
from tests.conftest import require_tool
from tests.frontend.models import model, node, saved, weights
from tests.models import ROOT, WATCH, shared_only
from tests.ops.test_standardize import stream
from tests.test_autoencoders import autoencoder
from tests.test_learners import compiled, flashed, outputs, person
from tests.test_sanitizers import MAIN, check_with_clang, run_sanitized
from tinyodl.compiler import compilation
from tinyodl.device.codes import Command
from tinyodl.device.refusals import RefusedError
from tinyodl.errors import DataError, UserError
from tinyodl.learning.learners.choice import as_learner
from tinyodl.learning.learners.online import cross_entropy_fit
from tinyodl.project.manifest import load
from tinyodl.project.plan import RECONSTRUCTIONS, UpdatePlan
from tinyodl.project.plan_file import dump_plan, load_plan
from tinyodl.report import report_html
from tinyodl.runs import log as runlog
from tinyodl.session.session import Session
from tinyodl.targets.boards import load_board


def digits():
    with np.load(ROOT / "tests" / "data" / "sklearn_digits_8x8.npz") as data:
        return data["x"].reshape(-1, 64).astype(np.float32) / 16, data["y"].astype(int)


def on_digits(folder):
    """A model that is only there to be tapped at its input."""
    flat = model([node("Identity", ["x"], "f"), node("Gemm", ["f", "w"], "y")],
                 ["N", 64], {"w": weights(64, 10)})  # fmt: skip
    return saved(flat, folder)


class TestLastLayer:
    def test_it_learns_a_person_and_export_has_the_statistics(self, tmp_path):
        folder = compiled(tmp_path / "online", learner="online")
        x, y = person(9, "learn")
        with Session(folder, port="host") as session:
            summary = session.train(x, y, eval=person(9, "test"), run=tmp_path / "run", shuffle=0)
            session.export(tmp_path / "learned.onnx")
            found = session.infer(x[:20])
        assert summary.accuracy_after > 0.8 > 0.2 > summary.accuracy_before
        np.testing.assert_allclose(outputs(tmp_path / "learned.onnx", x[:20]), found, atol=2e-5)
        learned = onnx.load(tmp_path / "learned.onnx").graph
        [norm] = [each for each in learned.node if each.op_type == "BatchNormalization"]
        held = {each.name: onnx.numpy_helper.to_array(each) for each in learned.initializer}
        scale, bias, mean, variance = (held[name] for name in norm.input[1:])
        assert (scale == 1).all() and (bias == 0).all() and mean.any() and variance.std() > 0

    @pytest.mark.parametrize("by", ["softmax", "sigmoid"])
    def test_it_starts_where_the_cross_entropy_is_least(self, by):
        """No further from there than PyTorch's L-BFGS comes."""
        x, labels = stream(6, 4, 300)
        x = np.column_stack(((x - x.mean(0)) / x.std(0), np.ones(300)))
        targets = np.eye(4)[labels]
        given, wanted = torch.from_numpy(x), torch.from_numpy(targets)

        def objective(w):
            z = given @ w
            losses = {
                "softmax": lambda: torch.nn.functional.cross_entropy(z, wanted),
                "sigmoid": lambda: torch.nn.functional.binary_cross_entropy_with_logits(z, wanted),
            }
            return losses[by]() + 2.0 / 300 / 2 * (w[:-1] ** 2).sum()

        w = torch.zeros(7, 4, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            value = objective(w)
            value.backward()
            return value

        optimizer.step(closure)
        fitted = torch.from_numpy(cross_entropy_fit(x, targets, by, 2.0))
        assert objective(fitted).item() <= objective(w).item() + 1e-6

    def test_started_from_samples_it_computes_what_the_file_computes(self, tmp_path):
        old, new = person(9, "learn"), person(10, "learn")
        np.savez(tmp_path / "old.npz", x=old[0], y=old[1])
        folder = compiled(tmp_path / "started", learner="online", start=tmp_path / "old.npz")
        assert load(folder).plan.seen == round(0.1 * len(old[0]))
        with Session(folder, port="host") as session:
            assert session.evaluate(*old).accuracy > 0.9
            begun = session.infer(new[0][:10])
            np.testing.assert_allclose(
                outputs(folder / "model.onnx", new[0][:10]), begun, atol=2e-5
            )
            session.train(*new, limit=20, run=tmp_path / "run")
            session.export(tmp_path / "learned.onnx")
            np.testing.assert_allclose(
                outputs(tmp_path / "learned.onnx", new[0][:10]),
                session.infer(new[0][:10]),
                atol=2e-5,
            )

    def test_the_memory_is_what_the_plan_says(self):
        parts = tinyodl.plan(WATCH, "host", learner="online", max_classes=9, metrics=True).ram.parts
        assert parts["parameters"] == 4 * (9 * 32 + 9)
        statistics, labels, metrics = 4 * (32 + 32 + 1), 4 * 9, 4 * (9 * 9 + 2)
        assert parts["optimizer"] == statistics + labels + metrics

    def test_cross_entropy_of_sigmoid_outputs_is_binary(self, tmp_path):
        asked = tinyodl.plan(WATCH, "host", learner="online", activation="sigmoid")
        assert asked.plan.loss == "binary-cross-entropy"
        named = tinyodl.plan(WATCH, "host", learner="online", loss="binary-cross-entropy")
        assert named == asked
        (tmp_path / "plan.toml").write_text(dump_plan(UpdatePlan(loss="binary-cross-entropy")))
        own = autoencoder(tmp_path, sigmoid=True)
        read = tinyodl.plan(own, "host", update=str(tmp_path / "plan.toml"))
        assert "OneHotBinaryCrossEntropy" in {record.op for record in read.schedule}

    def test_a_plan_file_says_all_of_it(self, tmp_path):
        given = UpdatePlan(
            layers={"head.standardize": "statistics"}, forgetting=0.99, seen=12, unlabelled=True,
            labels=(7, 3), metrics=True, fading=0.9,
        )  # fmt: skip
        (tmp_path / "plan.toml").write_text(dump_plan(given))
        assert load_plan(tmp_path / "plan.toml") == given
        for loss in RECONSTRUCTIONS:
            errors = UpdatePlan(loss=loss, threshold="percentile:99", forgetting=0.9)
            (tmp_path / "plan.toml").write_text(dump_plan(errors))
            assert load_plan(tmp_path / "plan.toml") == errors


class TestLabelsAsTheyCome:
    def test_they_are_reported_exported_and_taken_up_again(self, tmp_path):
        x, y = digits()
        path = on_digits(tmp_path)
        options = {"learner": "online", "max_classes": 12, "learning_rate": 0.05}
        first = flashed(path, tmp_path / "first", tap=["x"], **options)
        few = y < 3
        with Session(first, port="host") as session:
            assert session.labels() == ()
            session.train(x[few], y[few] * 11, limit=200, run=tmp_path / "run")
            taken = session.labels()
            assert sorted(taken) == [0, 11, 22]
            tested = session.evaluate(x[few][200:], y[few][200:] * 11)
            assert tested.labels == (0, 11, 22) and tested.accuracy > 0.95
            session.export(tmp_path / "learned.onnx")
            scores = session.infer(x[:10])[:, :3]
        metadata = {p.key: p.value for p in onnx.load(tmp_path / "learned.onnx").metadata_props}
        assert json.loads(metadata["tinyodl.labels"]) == list(taken)
        np.testing.assert_allclose(outputs(tmp_path / "learned.onnx", x[:10]), scores, atol=1e-4)

        second = flashed(tmp_path / "learned.onnx", tmp_path / "second", grow=True, **options)
        with Session(second, port="host") as session:
            assert session.labels() == taken
            again = session.evaluate(x[few][200:], y[few][200:] * 11)
            assert again.confusion == tested.confusion
            summary = session.train(
                x[:600], y[:600] * 11, eval=(x[600:900], y[600:900] * 11), run=tmp_path / "run2"
            )
            assert set(session.labels()) == {11 * digit for digit in range(10)}
        assert summary.accuracy_before < 0.35 and summary.accuracy_after > 0.7

    def test_a_label_too_many_changes_nothing_and_says_what_to_do(self, tmp_path):
        folder = compiled(tmp_path / "full", learner="online", max_classes=2)
        x, _ = person(8, "learn")
        with Session(folder, port="host") as session:
            for label in (40, 2, 40):
                session.client.train(x[label], label)
            before = [session.client.read_parameter(p.index) for p in session.manifest.parameters]
            with pytest.raises(
                DataError, match=r"label 9 is new, and all 2 .* larger --max-classes"
            ):
                session.client.train(x[9], 9)
            after = [session.client.read_parameter(p.index) for p in session.manifest.parameters]
            assert all(map(np.array_equal, before, after))
            assert session.client.evaluate(x[9], 9).predicted in (40, 2)  # wrong, and no error
            with pytest.raises(UserError, match=r"has 2 labels that are new .* --max-classes 4"):
                session.train(x[:3], [5, 2, 6], run=tmp_path / "run")
            assert session.labels() == (40, 2)
            assert session.client.statistics().steps == 3

    @pytest.mark.parametrize("learner", ["rls", "elm"])
    def test_least_squares_take_them_too(self, tmp_path, learner):
        folder = compiled(tmp_path / learner, learner=learner, max_classes=9, metrics=True)
        x, y = person(8, "learn")
        with Session(folder, port="host") as session:
            summary = session.train(
                x,
                y * 5,
                eval=(person(8, "test")[0], person(8, "test")[1] * 5),
                run=tmp_path / "run",
            )
            assert sorted(session.labels()) == [0, 5, 10, 15, 20, 25, 30]
        assert summary.accuracy_before == 0 and summary.accuracy_after > 0.8


class TestSamplesWithoutLabel:
    def test_they_count_in_the_statistics_alone(self, tmp_path):
        folder = compiled(tmp_path / "online", learner="online")
        x, y = person(8, "learn")
        sparse = np.where(np.arange(len(y)) % 3 == 0, y, -1)
        np.savez(tmp_path / "sparse.npz", x=x, y=sparse)
        samples = tinyodl.samples.data.load(tmp_path / "sparse.npz", load(folder))
        with Session(folder, port="host") as session:
            summary = session.train(samples.x, samples.y, run=tmp_path / "run")
            assert session.client.statistics().steps == (sparse >= 0).sum()
            assert session._kept("<head.standardize.count>") == [len(x)]
            tested = session.evaluate(x, sparse)
        assert summary.samples == len(x) and summary.mean_loss is not None
        assert sum(map(sum, tested.confusion)) == (sparse >= 0).sum()
        run = runlog.read(tmp_path / "run")
        assert [step.unlabelled for step in run.steps] == (sparse < 0).tolist()
        assert "Learning curve" in report_html([run])

    def test_projects_that_take_none_refuse_them(self, tmp_path):
        folder = tmp_path / "last"
        tinyodl.compile(WATCH, "host", folder)
        x, y = person(8, "learn")
        y[3] = -1
        with pytest.raises(DataError, match=r"y\[3\] is -1, the model has classes 0 to 6;"):
            tinyodl.samples.data.check(x, y, load(folder))
        build(folder)
        with Session(folder, port="host") as session:
            with pytest.raises(DataError, match="not a class from 0 to 6"):
                session.client.train(x[0], -1)
            session.client.upload(x[0])
            with pytest.raises(RefusedError, match="limit is 7"):
                session.client._request(Command.TRAIN, (-1).to_bytes(4, "little", signed=True))


class TestMetrics:
    def test_the_device_counts_what_the_host_has_seen(self, tmp_path):
        folder = compiled(
            tmp_path / "online", learner="online", max_classes=8, metrics=True, fading=0.9
        )
        x, y = person(9, "learn")
        with Session(folder, port="host") as session:
            session.train(x, y + 1, run=tmp_path / "run")
        run = runlog.read(tmp_path / "run")
        metrics = run.record.metrics
        place = {label: index for index, label in enumerate(metrics.labels)}
        counted = np.zeros((7, 7), int)
        right = seen = 0.0
        for step in run.steps:
            if step.predicted >= 0:
                counted[place[step.label], place[step.predicted]] += 1
            right, seen = 0.9 * right + (step.label == step.predicted), 0.9 * seen + 1
        assert counted.tolist() == [list(row) for row in metrics.confusion]
        assert metrics.recent == pytest.approx(right / seen, rel=1e-5)
        assert metrics.accuracy == pytest.approx(np.trace(counted) / counted.sum())
        f1 = [2 * counted[i, i] / (counted[i].sum() + counted[:, i].sum()) for i in range(7)]
        assert metrics.macro_f1 == pytest.approx(np.mean(f1))
        page = report_html([run])
        assert "Counted by the device" in page and f"macro-F1 {100 * np.mean(f1):.1f}" in page


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"max_classes": 3},
                "--max-classes is for --learner online, rls, elm, transfer, slda, ncm or proto",
            ),
            ({"learner": "online", "max_classes": 3, "classes": 3}, "give one of them"),
            ({"learner": "online", "max_classes": 0}, "--max-classes 0: give at least 1"),
            ({"learner": "online", "grow": True}, "give --max-classes N too"),
            ({"learner": "rls", "grow": True, "max_classes": 9}, "--grow is for --learner online"),
            ({"learner": "online", "grow": True, "max_classes": 9, "tap": ["x"]}, "leave --tap"),
            ({"learner": "online", "optimizer": "rls"}, "--learner rls by least squares"),
            ({"learner": "online", "activation": "linear"}, "linear is for --loss one-hot"),
            (
                {"learner": "online", "activation": "linear", "loss": "binary-cross-entropy"},
                "of sigmoid outputs; leave --activation away",
            ),
            (
                {
                    "learner": "online",
                    "grow": True,
                    "max_classes": 9,
                    "loss": "binary-cross-entropy",
                },
                "not for loss binary-cross-entropy",
            ),
            (
                {
                    "learner": "online",
                    "start": "x.npz",
                    "loss": "one-hot",
                    "activation": "sigmoid",
                },
                "not the squared error of sigmoids; leave --start away",
            ),
            ({"learner": "online", "ridge": 2.0}, "--ridge is for recursive least squares"),
            ({"threshold": "fixed:1"}, "--threshold is of the error of --loss reconstruction"),
            ({"fading": 0.5}, "--fading is of --metrics"),
            ({"loss": "reconstruction", "learner": "rls"}, "is for --learner online, or for none"),
            ({"loss": "reconstruction", "learner": "online", "classes": 3}, "leave --classes away"),
        ],
    )
    def test_options_that_clash(self, options, message):
        with pytest.raises(UserError, match=message):
            as_learner(options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"learner": "online", "grow": True, "max_classes": 5}, "has 7 classes already"),
            ({"loss": "reconstruction"}, "compares the output with the input"),
            ({"loss": "binary-cross-entropy"}, "ends in a float32 Sigmoid"),
            ({"learner": "rls", "loss": "binary-cross-entropy"}, "needs a squared loss"),
            ({"learner": "rls", "tap": ["reconstruction-error"]}, "their shapes are"),
            ({"loss": "mse", "metrics": True}, "metrics are of class labels"),
            ({"learner": "online", "forgetting": 0.0}, "forgetting = 0.0"),
        ],
    )
    def test_what_cannot_be(self, options, message):
        with pytest.raises(UserError, match=message):
            tinyodl.plan(WATCH, "host", **options)

    @pytest.mark.parametrize("threshold", ["3", "gauss:3", "percentile:101", "fixed:x", "fixed:-1"])
    def test_thresholds_that_are_none(self, tmp_path, threshold):
        options = {"loss": "reconstruction", "threshold": threshold}
        with pytest.raises(UserError, match="threshold"):
            tinyodl.plan(autoencoder(tmp_path), "host", **options)

    def test_more_labels_to_start_from_than_outputs(self, tmp_path):
        x, _ = person(8, "learn")
        np.savez(tmp_path / "start.npz", x=x[:40], y=np.arange(40) % 5 * 100)
        with pytest.raises(UserError, match="has 5 labels; give --max-classes 5 or more"):
            tinyodl.plan(
                WATCH, "host", learner="online", max_classes=4, start=tmp_path / "start.npz"
            )


@pytest.mark.parametrize(
    "options",
    [
        {"learner": "online", "max_classes": 8, "metrics": True, "forgetting": 0.99},
        {"learner": "online", "loss": "one-hot", "activation": "sigmoid", "optimizer": "momentum"},
        {"learner": "online", "activation": "sigmoid", "max_classes": 8, "metrics": True},
        {"learner": "rls", "max_classes": 8, "metrics": True},
    ],
    ids=["softmax", "sigmoid", "binary", "rls"],
)
def test_the_board_learns_the_same_bits_as_the_host(tmp_path, options):
    require_tool("arm-none-eabi-gcc")
    x, y = person(8, "learn")
    y[::5] = -1
    ended = []
    for board, port in (("host", "host"), ("nrf52840_dk", "virtual")):
        folder = compiled(tmp_path / board, board, **options)
        with Session(folder, port=port) as session:
            replies = [session.client.train(a, b) for a, b in zip(x[:60], y[:60], strict=True)]
            parameters = [session.client.read_parameter(p.index).tobytes()
                          for p in session.manifest.parameters]  # fmt: skip
        ended.append(([(r.predicted, np.float32(r.loss).tobytes()) for r in replies], parameters))
    assert all(a == b for a, b in pairwise(ended))


@pytest.mark.parametrize(
    "options",
    [
        {"learner": "online", "max_classes": 3, "metrics": True, "unlabelled": True, "tap": ["x"]},
        {"learner": "online", "loss": "one-hot", "max_classes": 3, "batch": 2, "tap": ["x"]},
        {"loss": "reconstruction", "threshold": "percentile:99", "forgetting": 0.9},
        {"loss": "reconstruction", "threshold": "fixed:1", "update": "full"},
        {"learner": "online", "activation": "sigmoid", "max_classes": 3, "tap": ["x"]},
        {"loss": "reconstruction-cross-entropy", "update": "full"},
    ],
)
def test_generated_code_has_no_finding(tmp_path, options):
    """The sanitizers, and all warnings of a second compiler, on labels -1, 0 and 1."""
    path = autoencoder(tmp_path, sigmoid=options.get("loss") == "reconstruction-cross-entropy")
    made = compilation(path, load_board("host"), options)
    folder = tmp_path / "net"
    folder.mkdir()
    for name, text in made.network.files.items():
        (folder / name).write_text(text)
    main = folder / "main.c"
    main.write_text(MAIN.replace("step % NET_CLASSES", "step % 3 - 1"))
    run_sanitized(main)
    check_with_clang(main)


@shared_only
def test_two_new_digits_beside_the_eight_that_are_known(tmp_path):
    """lenet_mnist_c8 has never seen 8 and 9; 1,500 samples of all ten digits, one pass."""
    shared = ROOT.parent / "shared"
    with np.load(shared / "data" / "mnist_12k.npz") as data:
        x, y = data["x_train"][:1500, None] / np.float32(255), data["y_train"][:1500].astype(int)
        tested = data["x_test"][:500, None] / np.float32(255), data["y_test"][:500].astype(int)
    path = shared / "models" / "lenet_mnist_c8.onnx"
    options = {"learner": "online", "max_classes": 10, "grow": True, "learning_rate": 0.003}
    folder = flashed(path, tmp_path / "lenet", **options)
    with Session(folder, port="host") as session:
        summary = session.train(x, y, eval=tested, run=tmp_path / "run")
        after = np.array(session.evaluate(*tested).confusion)
    assert summary.accuracy_before < 0.82 and summary.accuracy_after > 0.9
    assert np.trace(after[:8, :8]) / after[:8].sum() > 0.94
    assert np.trace(after[8:, 8:]) / after[8:].sum() > 0.65
    runtime = onnxruntime.InferenceSession((folder / "model.onnx").read_bytes())
    original = onnxruntime.InferenceSession(path.read_bytes())
    feed = {original.get_inputs()[0].name: tested[0][:1].astype(np.float32)}
    np.testing.assert_allclose(
        runtime.run(None, feed)[0][:, :8], original.run(None, feed)[0], rtol=1e-4, atol=1e-4
    )
