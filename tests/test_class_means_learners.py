"""--learner slda and ncm: from the ONNX file to what the board has learned."""

from __future__ import annotations

import numpy as np
import pytest

import tinyodl
from tests.models import WATCH
from tests.test_learners import compiled, outputs, person
from tinyodl.errors import UserError
from tinyodl.learning.learners import learners, names
from tinyodl.ops.class_means import NO_CLASS
from tinyodl.project.manifest import load
from tinyodl.report import report_html
from tinyodl.runs.log import read
from tinyodl.session.session import Session

BOTH = pytest.mark.parametrize("learner", ["slda", "ncm"])
HELD_OUT = {"slda": 0.90, "ncm": 0.88}  # of person 8's second half; rls has 0.917


def test_learners_are_called_as_their_modules_are():
    assert tuple(each.name for each in learners()[1:]) == names()
    assert learners()[0].name == ""


@BOTH
class TestTheWholeWay:
    def test_one_pass_in_recorded_order(self, tmp_path, learner):
        folder = compiled(tmp_path / "p", learner=learner)
        with Session(folder, port="host") as session:
            summary = session.train(
                *person(8, "learn"), eval=person(8, "test"), run=tmp_path / "run"
            )
        assert summary.accuracy_after >= HELD_OUT[learner]
        # the loss is the 0-1 loss, so its mean is the share of wrong answers
        assert summary.mean_loss == pytest.approx(1 - summary.prequential_accuracy, abs=1e-6)
        assert f"optimizer {learner}" in report_html([read(tmp_path / "run")])

    def test_what_was_learned_is_saved_restored_and_exported(self, tmp_path, learner):
        folder = compiled(tmp_path / "p", learner=learner)
        x, y = person(8, "learn")
        probe = person(8, "test")[0]
        with Session(folder, port="host") as session:
            session.train(x[:150], y[:150], run=tmp_path / "first")
            saved = session.infer(probe)
        with Session(folder, port="host") as session:  # the board has begun anew
            np.testing.assert_array_equal(session.infer(probe), saved)
            session.train(x[150:], y[150:], run=tmp_path / "second")
            found = session.infer(probe)
            session.export(tmp_path / "learned.onnx")
        expected = outputs(tmp_path / "learned.onnx", probe)
        np.testing.assert_allclose(expected, found, rtol=1e-4, atol=1e-5 * np.abs(found).max())
        np.testing.assert_array_equal(expected.argmax(1), found.argmax(1))
        whole = compiled(tmp_path / "whole", learner=learner)
        with Session(whole, port="host") as session:
            session.train(x, y, run=tmp_path / "run")
            np.testing.assert_array_equal(session.infer(probe), found)

    def test_labels_come_as_they_like_and_some_samples_without(self, tmp_path, learner):
        folder = compiled(tmp_path / "p", learner=learner, max_classes=9, metrics=True)
        x, y = person(8, "learn")
        sparse = np.where(np.arange(len(y)) % 3 == 0, 7 * y, -1)
        with Session(folder, port="host") as session:
            session.train(x, sparse, run=tmp_path / "run")
            assert session.labels() == tuple(dict.fromkeys(sparse[sparse >= 0].tolist()))
            tested = session.evaluate(person(8, "test")[0], 7 * person(8, "test")[1])
            counts = [p for p in session.manifest.parameters if "samples of each" in p.name]
            seen = session.client.read_parameter(counts[0].index)
            session.export(tmp_path / "learned.onnx")
        assert seen.sum() == (sparse >= 0).sum()
        assert tested.accuracy > 0.8
        assert outputs(tmp_path / "learned.onnx", x[:2]).shape == (2, 7)

    def test_a_class_that_never_came_is_not_predicted(self, tmp_path, learner):
        folder = compiled(tmp_path / "p", learner=learner)
        x, y = person(8, "learn")
        with Session(folder, port="host") as session:
            session.train(x[y < 3], y[y < 3], run=tmp_path / "run")
            found = session.infer(x)
            session.export(tmp_path / "learned.onnx")
        assert set(found.argmax(1)) <= {0, 1, 2}
        assert (outputs(tmp_path / "learned.onnx", x[:5])[:, 3:] == np.float32(NO_CLASS)).all()

    def test_started_it_is_as_if_it_had_learned_from_the_samples(self, tmp_path, learner):
        """But for rounding, and for the ridge, a share of the mean |x|^2 and not of the first."""
        old, new = person(9, "learn"), person(10, "learn")
        np.savez(tmp_path / "old.npz", x=old[0], y=old[1])
        ridge = {"ridge": 1e-4} if learner == "slda" else {}
        start = {"start": tmp_path / "old.npz", "start_weight": 1}
        zero = compiled(tmp_path / "zero", learner=learner, **ridge)
        started = compiled(tmp_path / "started", learner=learner, **ridge, **start)
        probe = person(10, "test")[0]
        with Session(zero, port="host") as session:
            session.train(*old, run=tmp_path / "run0")
            session.train(*new, run=tmp_path / "run1")
            streamed = session.infer(probe)
        with Session(started, port="host") as session:
            np.testing.assert_allclose(
                outputs(started / "model.onnx", probe), session.infer(probe), rtol=1e-3, atol=1e-2
            )
            session.train(*new, run=tmp_path / "run2")
            begun = session.infer(probe)
        np.testing.assert_allclose(streamed, begun, atol=0.02 * np.abs(streamed).max())
        assert np.mean(streamed.argmax(1) == begun.argmax(1)) > 0.98

    def test_drift_and_the_guard_run_beside_it(self, tmp_path, learner):
        """Labels that are wrong for a while: the guard goes back to the means of before."""
        options = {"forgetting": 0.9, "drift": True, "guard": "4"}
        folder = compiled(tmp_path / "p", learner=learner, **options)
        settings = [setting.name for setting in load(folder).settings]
        assert "drift" in settings and "drift_retrain" not in settings
        x, y = person(8, "learn")
        wrong = np.random.default_rng(1).permutation(len(y))[:30]
        with Session(folder, port="host") as session:
            session.train(x, y, shuffle=0, run=tmp_path / "run")
            summary = session.train(x[wrong], (y[wrong] + 3) % 7, run=tmp_path / "wrong")
            tested = session.evaluate(*person(8, "test"))
        assert "returned" in [event.name for event in summary.events]
        assert tested.accuracy > 0.87  # without the guard 0.77 and 0.67 were left

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"query": "auto"}, "query is not for optimizer"),
            ({"loss": "one-hot"}, "loss zero-one"),
            ({"cache": 8}, "not for optimizer"),
            ({"hidden": 8}, "--hidden is for --learner elm"),
            ({"grow": True, "max_classes": 9}, "--grow is for --learner online or transfer"),
            ({"optimizer": "sgd"}, "brings its own optimizer"),
            ({"batch": 4}, "batch 1"),
        ],
    )
    def test_what_does_not_go_with_it_is_refused_by_name(self, learner, options, message):
        with pytest.raises(UserError, match=message):
            tinyodl.plan(WATCH, "host", learner=learner, **options)


def test_the_ridge_is_not_for_means():
    with pytest.raises(UserError, match=r"--ridge is for recursive.*rls, elm or slda"):
        tinyodl.plan(WATCH, "host", learner="ncm", ridge=0.1)


def test_what_they_take():
    """Of 32 features and 7 classes: 2 F (F + 1) + 8 C F + 8 C + 12 B, and 4 C F + 8 C B."""
    kept = {}
    for learner in ("slda", "ncm"):
        parts = tinyodl.plan(WATCH, "nrf52840_dk", learner=learner).ram.parts
        kept[learner] = parts["parameters"] + parts["optimizer"]
    assert kept == {"slda": 2 * 32 * 33 + 8 * 7 * 32 + 8 * 7 + 12, "ncm": 4 * 7 * 32 + 8 * 7}
