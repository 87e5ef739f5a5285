"""Autoencoders on a stream: the sample is the target, and what is above a threshold an anomaly."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import tinyodl
from tests.builds import build
from tests.conftest import require_tool
from tests.frontend.models import model, node, saved
from tests.test_learners import flashed, outputs
from tinyodl.errors import DataError, UserError
from tinyodl.learning.state_names import bin_edges
from tinyodl.project.manifest import load
from tinyodl.project.plan import RECONSTRUCTIONS
from tinyodl.report import report_html
from tinyodl.runs import log as runlog
from tinyodl.session.session import Session


def autoencoder(folder, opset=17, *, sigmoid=False):
    layers = [("x", "u", "a", "first"), ("r", "v", "c", "last")]
    nodes = [onnx.helper.make_node("Gemm", [x, w, b], [f"{w}.y"], name=name, transB=1)
             for x, w, b, name in layers]  # fmt: skip
    nodes.insert(1, node("Relu", ["u.y"], "r"))
    rng = np.random.default_rng(0)  # the same network, whichever tests ran before
    shapes = {"u": (4, 8), "a": (4,), "v": (8, 4), "c": (8,)}
    constants = {name: rng.normal(0, 0.5, size).astype(np.float32) for name, size in shapes.items()}
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
                         learning_rate=0.02, threshold=threshold,
                         learn_flagged=True)  # fmt: skip
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

    def test_what_is_above_the_threshold_is_learned_only_where_it_is_labelled(self, tmp_path):
        """To leave such a sample out, or to label it 1, comes to the same."""
        path = autoencoder(tmp_path)
        options = {"loss": "reconstruction", "learning_rate": 0.02, "drift": True}
        x = normal(90)
        x[40::3] *= 4
        with Session(flashed(path, tmp_path / "ae", **options), port="host") as session:
            session.train(x, None, run=tmp_path / "run")
            steps = runlog.read(tmp_path / "run").steps
            flagged = np.array([step.predicted == 1 for step in steps])
            counted = session.client.statistics().steps
            found = [session.client.read_parameter(i) for i in range(5)]  # not the counts
            metrics = session.metrics()
            loss = steps[-1].loss
            session.client.train(x[40], 0)  # labelled normal: it is one
            assert session.metrics().errors == metrics.errors + 1
        assert flagged[40::3].sum() > 10
        assert counted == metrics.errors == 90 - flagged.sum()
        assert metrics.anomalies == ((0, 0), (0, 0), (90 - flagged.sum(), flagged.sum()))
        for name, samples, labels in (
            ("without", x[~flagged], None),
            ("labelled", x, np.where(flagged, 1, -1)),
        ):
            folder = flashed(path, tmp_path / name, **options)
            with Session(folder, port="host") as session:
                session.train(samples, labels, run=tmp_path / f"run-{name}")
                for index, values in enumerate(found):
                    again = session.client.read_parameter(index)
                    np.testing.assert_array_equal(again, values)
            assert flagged[-1] or runlog.read(tmp_path / f"run-{name}").steps[-1].loss == loss

    @pytest.mark.parametrize(
        ("options", "learns"),
        [
            ({"forgetting": 0.95}, False),
            ({"threshold": "percentile:95"}, False),
            ({"threshold": "percentile:95", "forgetting": 0.95}, False),
            ({"forgetting": 0.95, "learn_flagged": True}, True),
        ],
    )
    def test_a_fault_that_stays_is_learned_only_with_the_option(self, tmp_path, options, learns):
        np.savez(tmp_path / "normal.npz", x=normal(300))
        folder = flashed(autoencoder(tmp_path), tmp_path / "ae", loss="reconstruction",
                         update="none", start=tmp_path / "normal.npz", **options)  # fmt: skip
        normals, faults = normal(300), 6 * normal(300)
        with Session(folder, port="host") as session:
            session.train(np.concatenate((normals, faults)), None, run=tmp_path / "run")
        found = np.array([step.predicted for step in runlog.read(tmp_path / "run").steps])
        assert np.mean(found[100:300]) < 0.15  # the threshold stays where it should be
        missed = 1 - np.mean(found[-100:])
        assert missed > 0.8 if learns else missed < 0.2

    def test_a_threshold_that_would_fall_without_end_is_refused(self, tmp_path):
        options = {"loss": "reconstruction", "threshold": "gaussian:1.5"}
        with pytest.raises(UserError, match="give at least 2, percentile:P, or --learn-flagged"):
            tinyodl.plan(autoencoder(tmp_path), "host", **options)
        tinyodl.plan(autoencoder(tmp_path), "host", **options, learn_flagged=True)

    @pytest.mark.parametrize("loss", RECONSTRUCTIONS)
    def test_started_from_normal_samples_it_knows_their_errors(self, tmp_path, loss):
        binary = loss == "reconstruction-cross-entropy"
        path, x = autoencoder(tmp_path, sigmoid=binary), normal(60)
        if binary:
            x = 0.05 + 0.1 * np.abs(x) / np.abs(x).max()
        np.savez(tmp_path / "normal.npz", x=x)
        options = {"loss": loss, "threshold": "percentile:95", "learn_flagged": True}
        started = flashed(path, tmp_path / "a", start=tmp_path / "normal.npz", **options)
        streamed = flashed(path, tmp_path / "b", update="none", **options)
        with Session(started, port="host") as a, Session(streamed, port="host") as b:
            b.train(x, None, run=tmp_path / "run")
            began, went = a.metrics(), b.metrics()
            usual = a.evaluate(x, np.zeros(60, int))
            found = None if binary else a.evaluate(20 * x, np.ones(60, int))
        assert began.errors == went.errors == 60
        assert began.histogram == went.histogram
        for field in ("mean", "deviation", "threshold"):
            assert getattr(began, field) == pytest.approx(getattr(went, field), rel=1e-3)
        errors = np.array([step.loss for step in runlog.read(tmp_path / "run").steps])
        assert usual.accuracy == pytest.approx(np.mean(errors <= began.threshold))
        assert binary or (found.accuracy > 0.9 and found.confusion[1][1] > 50)

    def test_forgetting_follows_errors_that_change(self, tmp_path):
        options = {"loss": "reconstruction", "update": "none", "forgetting": 0.9,
                   "learn_flagged": True}  # fmt: skip
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
        samples = tinyodl.samples.data.load(tmp_path / "x.csv", load(folder))
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
        build(folder)
        with Session(folder, port=port) as session:
            replies = [session.client.train(each, -1) for each in x]
            parameters = [session.client.read_parameter(p.index).tobytes()
                          for p in session.manifest.parameters]  # fmt: skip
        ended.append(([(r.predicted, r.loss) for r in replies], parameters))
    assert ended[0] == ended[1]
