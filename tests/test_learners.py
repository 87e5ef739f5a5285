"""--learner: whole ways to learn, from the ONNX file to what the board has learned."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import tinyodl
from tests.builds import build
from tests.models import WATCH
from tinyodl.errors import DataError, UserError
from tinyodl.learning.learners.choice import as_learner
from tinyodl.ops.hashed_gemm import hash_values, hashed_weights
from tinyodl.resources import EXAMPLES
from tinyodl.session.session import Session

PERSONS = {8: 0.91, 9: 0.93, 10: 0.92}  # what the issue asks of one pass in recorded order


def person(number, part):
    with np.load(EXAMPLES / "watch" / f"person{number}_{part}.npz") as data:
        return data["x"].astype(np.float32), data["y"].astype(int)


def compiled(folder, board="host", **options):
    return flashed(WATCH, folder, board, **options)


def flashed(path, folder, board="host", **options):
    tinyodl.compile(path, board, folder, **options)
    build(folder)
    return folder


def outputs(path, x):
    runtime = onnxruntime.InferenceSession(path.read_bytes())
    name = runtime.get_inputs()[0].name
    return np.concatenate([runtime.run(None, {name: x[i : i + 1]})[0] for i in range(len(x))])


class TestRls:
    @pytest.mark.parametrize("number", PERSONS)
    def test_one_pass_in_recorded_order(self, tmp_path, number):
        folder = compiled(tmp_path / "rls", learner="rls")
        with Session(folder, port="host") as session:
            summary = session.train(
                *person(number, "learn"), eval=person(number, "test"), run=tmp_path / "run"
            )
        assert summary.accuracy_after >= PERSONS[number]

    def test_started_from_samples_it_knows_them_and_goes_on_from_there(self, tmp_path):
        """As if the board had seen them: the same as to stream both one after the other.

        But for the ridge, which is small here: it is a share of the mean |x|^2 of samples to start
        from, and of the first sample's where the board begins at zero.
        """
        old, new = person(9, "learn"), person(10, "learn")
        np.savez(tmp_path / "old.npz", x=old[0], y=old[1])
        zero = compiled(tmp_path / "zero", learner="rls", ridge=1e-4)
        started = compiled(
            tmp_path / "started",
            learner="rls",
            ridge=1e-4,
            start=tmp_path / "old.npz",
            start_weight=1,
        )
        probe = person(10, "test")[0]
        with Session(zero, port="host") as session:
            session.train(*old, run=tmp_path / "run0")
            streamed = [session.infer(probe)]
            session.train(*new, run=tmp_path / "run1")
            streamed.append(session.infer(probe))
        with Session(started, port="host") as session:
            begun = [session.infer(probe)]
            session.train(*new, run=tmp_path / "run2")
            begun.append(session.infer(probe))
            session.export(tmp_path / "learned.onnx")
            np.testing.assert_allclose(outputs(started / "model.onnx", probe), begun[0], atol=2e-5)
            np.testing.assert_allclose(
                outputs(tmp_path / "learned.onnx", probe), begun[1], atol=2e-5
            )
        for a, b in zip(streamed, begun, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-3)

    def test_several_taps_are_read_side_by_side(self, tmp_path):
        folder = compiled(tmp_path / "taps", learner="rls", tap=["/9/GlobalAveragePool", "/3/Conv"])
        x, y = person(8, "learn")
        with Session(folder, port="host") as session:
            session.train(x, y, limit=30, run=tmp_path / "run")
            session.export(tmp_path / "learned.onnx")
            found = session.infer(x[:5])
        np.testing.assert_allclose(outputs(tmp_path / "learned.onnx", x[:5]), found, atol=1e-4)

    def test_more_classes_than_the_model_has(self, tmp_path):
        manifest = tinyodl.plan(WATCH, "host", learner="rls", classes=9)
        assert manifest.model.output_shape == (1, 9)


class TestElm:
    def test_the_paper_s_core_in_less_memory(self, tmp_path):
        """n = 561, N = 128, m = 6: 42,000 B for the learner, input and all; theirs 136 kB."""
        from tests.frontend.models import model, node, saved, weights

        flat = model([node("Identity", ["x"], "f"), node("Gemm", ["f", "w"], "y")],
                     ["N", 561], {"w": weights(561, 6)})  # fmt: skip
        manifest = tinyodl.plan(saved(flat, tmp_path), "nrf52840_dk", learner="elm", tap=["x"])
        parts = manifest.ram.parts
        assert parts["arena"] + parts["parameters"] + parts["optimizer"] < 42_000
        assert manifest.flash.parts["weights"] == 0  # of the hidden layer nothing is stored

    def test_the_hidden_layer_is_the_one_in_the_file(self, tmp_path):
        folder = compiled(tmp_path / "elm", learner="elm", hidden=40, seed=3)
        x, y = person(8, "learn")
        with Session(folder, port="host") as session:
            session.train(x, y, run=tmp_path / "run")
            session.export(tmp_path / "learned.onnx")
            found = session.infer(x[:8])
        np.testing.assert_allclose(outputs(tmp_path / "learned.onnx", x[:8]), found, atol=2e-4)

    def test_hashed_numbers_are_spread_evenly(self):
        u = hash_values(1, 100_000)
        assert u.min() >= -1 and u.max() < 1
        assert abs(u.mean()) < 0.01 and abs(u.var() - 1 / 3) < 0.01
        w, b = hashed_weights(1, 64, 100)
        assert abs(np.corrcoef(w)[np.triu_indices(64, 1)]).max() < 0.5
        assert not np.array_equal(hash_values(2, 100), hash_values(1, 100))
        assert w.shape == (64, 100) and b.shape == (64,)


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"learner": "rsl"},
                "learner rsl: give online, rls, elm, transfer, slda, ncm or prototypes",
            ),
            ({"learner": "rls", "head": "dense:4"}, "leave --head away"),
            ({"learner": "rls", "optimizer": "sgd"}, "leave --optimizer away"),
            ({"learner": "rls", "update": "full"}, "leave --update away"),
            ({"learner": "rls", "hidden": 3}, "--hidden is for --learner elm"),
            ({"hidden": 3}, "--hidden is for --learner elm"),
            ({"ridge": 0.1}, "--ridge is for recursive least squares"),
            (
                {"start_weight": 0.5},
                "--start-weight is for --learner online, rls, elm, slda, ncm or prototypes",
            ),
            ({"learner": "rls", "start_weight": 0.5}, "--start-weight is for --start"),
            ({"learner": "rls", "start": "a", "start_weight": 0.0}, "give more than 0"),
            ({"learner": "elm", "classes": 0}, "--classes 0: give at least 1"),
        ],
    )
    def test_options_that_clash(self, options, message):
        with pytest.raises(UserError, match=message):
            as_learner(options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"learner": "rls", "ridge": 0.0}, "ridge = 0.0: Input should be greater than 0"),
            ({"learner": "rls", "forgetting": 1.5}, "forgetting = 1.5"),
            ({"learner": "rls", "loss": "cross-entropy"}, "squared loss: one-hot"),
            ({"learner": "rls", "tap": ["/9/Global"]}, "no node '/9/Global'"),
            ({"learner": "rls", "tap": ["/6/Conv"], "cut": "/6/Conv"}, "give one of them"),
            ({"tap": ["/6/Conv"]}, "--tap says what a fresh head reads"),
        ],
    )
    def test_what_cannot_be(self, options, message):
        with pytest.raises(UserError, match=message):
            tinyodl.plan(WATCH, "host", **options)

    def test_samples_to_start_from_that_do_not_fit(self, tmp_path):
        x, y = person(8, "learn")
        np.savez(tmp_path / "start.npz", x=x[:4], y=y[:4] + 90)
        with pytest.raises(DataError, match="the model has classes 0 to 6"):
            tinyodl.plan(WATCH, "host", learner="rls", start=tmp_path / "start.npz")
