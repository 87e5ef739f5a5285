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
from tests.conftest import require_tool
from tests.frontend.models import model, node, saved, weights
from tests.models import ROOT, WATCH, shared_only
from tests.ops.test_standardize import stream
from tests.test_learners import compiled, outputs, person
from tests.test_sanitizers import MAIN, check_with_clang, run_sanitized
from tinyodl import runlog
from tinyodl.boards import load_board
from tinyodl.compiler import compilation
from tinyodl.device.protocol import Command, RefusedError
from tinyodl.errors import DataError, UserError
from tinyodl.frontend.start import cross_entropy_fit
from tinyodl.kept import bin_edges
from tinyodl.learners import as_learner
from tinyodl.manifest import load
from tinyodl.report import report_html
from tinyodl.stream import Session
from tinyodl.update_plan import RECONSTRUCTIONS, UpdatePlan, dump_plan, load_plan


def digits():
    with np.load(ROOT / "tests" / "data" / "sklearn_digits_8x8.npz") as data:
        return data["x"].reshape(-1, 64).astype(np.float32) / 16, data["y"].astype(int)


def on_digits(folder):
    """A model that is only there to be tapped at its input."""
    flat = model([node("Identity", ["x"], "f"), node("Gemm", ["f", "w"], "y")],
                 ["N", 64], {"w": weights(64, 10)})  # fmt: skip
    return saved(flat, folder)


def flashed(path, folder, **options):
    tinyodl.compile(path, "host", folder, **options)
    tinyodl.flash(folder, port="host")
    return folder


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
        samples = tinyodl.data.load(tmp_path / "sparse.npz", load(folder))
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
            tinyodl.data.check(x, y, load(folder))
        tinyodl.flash(folder, port="host")
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


def autoencoder(folder, opset=17, *, sigmoid=False):
    layers = [("x", "u", "a", "first"), ("r", "v", "c", "last")]
    nodes = [onnx.helper.make_node("Gemm", [x, w, b], [f"{w}.y"], name=name, transB=1)
             for x, w, b, name in layers]  # fmt: skip
    nodes.insert(1, node("Relu", ["u.y"], "r"))
    constants = {"u": weights(4, 8), "a": weights(4), "v": weights(8, 4), "c": weights(8)}
    if sigmoid:
        nodes.append(node("Sigmoid", ["v.y"], "p"))
    output = "p" if sigmoid else "v.y"
    return saved(model(nodes, ["N", 8], constants, opset, output=output), folder)


def normal(count, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 2)) @ rng.normal(size=(2, 8)) + 1).astype(np.float32)


def quantile(histogram, percent):
    """Of a histogram, on a straight line inside a bin."""
    ends = np.concatenate([[0], np.cumsum(histogram)])
    return np.interp(percent / 100 * ends[-1], ends, bin_edges())


class TestAutoencoder:
    @pytest.mark.parametrize("threshold", ["gaussian:2.5", "percentile:90", "fixed:0.7"])
    def test_the_sample_is_the_target_and_the_errors_give_the_threshold(self, tmp_path, threshold):
        path = autoencoder(tmp_path)
        folder = flashed(path, tmp_path / "ae", learner="online", loss="reconstruction",
                         learning_rate=0.02, threshold=threshold)  # fmt: skip
        x = normal(80)
        x[::8] *= 4
        labels = np.where(np.arange(80) % 8 == 0, 1, np.where(np.arange(80) % 3 == 0, 0, -1))
        like = flashed(path, tmp_path / "mse", loss="mse", learning_rate=0.02)
        learned = x[labels != 1]
        with Session(like, port="host") as session:
            session.train(learned, learned, run=tmp_path / "mse-run")
            wanted = [session.client.read_parameter(index) for index in range(2)]
        with Session(folder, port="host") as session:
            session.train(x, labels, run=tmp_path / "run")
            found = [session.client.read_parameter(index) for index in range(2)]
            assert session.client.statistics().steps == len(learned)
            flagged = session.client.evaluate(100 * x[0], -1)
            session.client.infer(100 * x[0])
        for a, b in zip(found, wanted, strict=True):
            assert np.array_equal(a, b)
        steps = runlog.read(tmp_path / "run").steps
        errors = np.array([step.loss for step in steps])
        metrics = runlog.read(tmp_path / "run").record.metrics
        normal_errors = errors[labels != 1]
        assert metrics.mean == pytest.approx(normal_errors.mean(), rel=1e-4)
        assert metrics.deviation == pytest.approx(normal_errors.std(), rel=1e-3)
        histogram = np.histogram(normal_errors, bin_edges())[0]
        assert metrics.histogram == tuple(histogram)
        wanted_threshold = {
            "gaussian:2.5": normal_errors.mean() + 2.5 * normal_errors.std(),
            "percentile:90": quantile(histogram, 90),
            "fixed:0.7": 0.7,
        }[threshold]
        assert metrics.threshold == pytest.approx(wanted_threshold, rel=1e-3)
        assert flagged.predicted == 1
        counted = np.zeros((3, 2), int)
        for step in steps:
            counted[2 if step.label is None else step.label, step.predicted] += 1
        assert counted.tolist() == [list(row) for row in metrics.anomalies]
        if threshold == "fixed:0.7":
            assert [step.predicted for step in steps] == (errors > 0.7).astype(int).tolist()
        assert "Reconstruction error" in report_html([runlog.read(tmp_path / "run")])

    @pytest.mark.parametrize("loss", RECONSTRUCTIONS)
    def test_started_from_normal_samples_it_knows_their_errors(self, tmp_path, loss):
        binary = loss == "reconstruction-cross-entropy"
        path, x = autoencoder(tmp_path, sigmoid=binary), normal(60)
        if binary:
            x = 0.05 + 0.1 * np.abs(x) / np.abs(x).max()
        np.savez(tmp_path / "normal.npz", x=x)
        options = {"loss": loss, "threshold": "percentile:95"}
        started = flashed(path, tmp_path / "a", start=tmp_path / "normal.npz", **options)
        streamed = flashed(path, tmp_path / "b", update="none", **options)
        with Session(started, port="host") as a, Session(streamed, port="host") as b:
            b.train(x, None, run=tmp_path / "run")
            began, went = a.metrics(), b.metrics()
            found = None if binary else a.evaluate(20 * x, np.ones(60, int))
        assert began.errors == went.errors == 60
        assert began.histogram == went.histogram
        for field in ("mean", "deviation", "threshold"):
            assert getattr(began, field) == pytest.approx(getattr(went, field), rel=1e-3)
        assert binary or (found.accuracy > 0.9 and found.confusion[1][1] > 50)

    def test_forgetting_follows_errors_that_change(self, tmp_path):
        options = {"loss": "reconstruction", "update": "none", "forgetting": 0.9}
        folder = flashed(autoencoder(tmp_path), tmp_path / "ae", **options)
        with Session(folder, port="host") as session:
            session.train(normal(50), None, run=tmp_path / "run")
            before = session.metrics()
            session.train(3 * normal(60), None, run=tmp_path / "run2")
            after = session.metrics()
            evaluated = session.evaluate(3 * normal(60), np.zeros(60, int)).loss
        assert after.mean > 3 * before.mean
        assert after.mean == pytest.approx(evaluated, rel=0.5)
        assert sum(after.histogram) == pytest.approx(10, rel=0.01)

    def test_cross_entropy_adapts_it_to_what_comes(self, tmp_path):
        path = autoencoder(tmp_path, sigmoid=True)
        loss = "reconstruction-cross-entropy"
        folder = flashed(path, tmp_path / "ae", learner="online", loss=loss, update="full",
                         learning_rate=0.5)  # fmt: skip
        x = 1 / (1 + np.exp(-2 * normal(200)))
        with Session(folder, port="host") as session:
            before = session.evaluate(x[150:], np.zeros(50, int)).loss
            session.train(x[:150], None, run=tmp_path / "run")
            after = session.evaluate(x[150:], np.zeros(50, int)).loss
            made = session.infer(x[150:])
            metrics = session.metrics()
        wanted = -(x[150:] * np.log(made) + (1 - x[150:]) * np.log(1 - made)).mean()
        assert after == pytest.approx(wanted, rel=1e-4) and after < 0.9 * before
        assert metrics.errors == 150 and metrics.threshold > metrics.mean

    def test_cross_entropy_is_of_samples_from_0_to_1(self, tmp_path):
        """Refused before any of them is sent, by every command."""
        path, x = autoencoder(tmp_path, sigmoid=True), np.full((4, 8), 0.5)
        folder, loss = tmp_path / "ae", "reconstruction-cross-entropy"
        flashed(path, folder, loss=loss)
        x[2, 1] = 1.25
        np.savez(tmp_path / "x.npz", x=x)
        message = r"x\[2\] contains 1.25, .* numbers from 0 to 1; 1 of 4 rows"
        with Session(folder, port="host") as session:
            hello = session.client.sent
            for way in (
                lambda: session.train(x, None, run=tmp_path / "run"),
                lambda: session.evaluate(x, np.zeros(4, int)),
                lambda: session.infer(x),
            ):
                with pytest.raises(DataError, match=message):
                    way()
            with pytest.raises(DataError, match=r"contains 1.25, .* numbers from 0 to 1"):
                session.client.train(x[2], -1)
            assert session.client.sent == hello
        with pytest.raises(DataError, match=message):
            tinyodl.plan(path, "host", loss=loss, start=tmp_path / "x.npz")

    def test_csv_without_a_label(self, tmp_path):
        folder = tmp_path / "ae"
        tinyodl.compile(autoencoder(tmp_path), "host", folder, loss="reconstruction")
        np.savetxt(tmp_path / "x.csv", normal(5), delimiter=",")
        samples = tinyodl.data.load(tmp_path / "x.csv", load(folder))
        assert samples.y.tolist() == [-1] * 5 and samples.x.shape == (5, 8)


@pytest.mark.parametrize("opset", [17, 18])
def test_the_error_of_an_autoencoder_is_a_feature(tmp_path, opset):
    """A few labels on top of it: how large the error is tells the classes apart."""
    path = autoencoder(tmp_path, opset)
    options = {"learner": "online", "classes": 2, "learning_rate": 0.1}
    taps = ["first", "reconstruction-error"]
    folder = flashed(path, tmp_path / "taps", tap=taps, **options)
    x, y = normal(300), np.arange(300) % 2
    x[y == 1] *= 3
    with Session(folder, port="host") as session:
        session.train(x[:200], y[:200], run=tmp_path / "run")
        assert session.evaluate(x[200:], y[200:]).accuracy > 0.8
        session.export(tmp_path / "learned.onnx")
        found = session.infer(x[:5])
        mean = session._kept("head.standardize.mean")
    np.testing.assert_allclose(outputs(tmp_path / "learned.onnx", x[:5]), found, atol=1e-4)
    errors = ((outputs(path, x[:200]) - x[:200]) ** 2).mean(axis=1)
    assert mean[-1] == pytest.approx(errors.mean(), rel=1e-4)


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_classes": 3}, "--max-classes is for --learner online, rls, elm or transfer"),
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


@pytest.mark.parametrize("loss", RECONSTRUCTIONS)
def test_an_autoencoder_learns_the_same_bits_on_a_board(tmp_path, loss):
    require_tool("arm-none-eabi-gcc")
    binary = loss == "reconstruction-cross-entropy"
    path, x = autoencoder(tmp_path, sigmoid=binary), normal(60)
    x = np.clip(x, 0, 1) if binary else x
    ended = []
    for board, port in (("host", "host"), ("nrf52840_dk", "virtual")):
        folder = tmp_path / board
        tinyodl.compile(path, board, folder, loss=loss, update="full",
                        threshold="percentile:90", forgetting=0.97)  # fmt: skip
        tinyodl.flash(folder, port=port)
        with Session(folder, port=port) as session:
            replies = [session.client.train(each, -1) for each in x]
            parameters = [session.client.read_parameter(p.index).tobytes()
                          for p in session.manifest.parameters]  # fmt: skip
        ended.append(([(r.predicted, r.loss) for r in replies], parameters))
    assert ended[0] == ended[1]


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
