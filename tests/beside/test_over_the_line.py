"""Questions, settings and what a run logs of them, with a board at the other end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinyodl
from tests.beside.board import person, refusal
from tests.builds import build
from tests.frontend.models import model, node, saved
from tests.models import WATCH
from tinyodl.device.codes import Command, Status
from tinyodl.device.protocol import label_body
from tinyodl.errors import DataError, UserError
from tinyodl.runs import log as runlog
from tinyodl.session.session import Session


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watching") / "p"
    options = {"query": "auto", "error_budget": 0.05, "drift": True, "guard": "8"}
    tinyodl.compile(WATCH, "host", folder, learner="rls", **options)
    build(folder)
    return folder


@pytest.fixture
def session(project):
    with Session(project, port="host") as opened:
        opened.reset()
        yield opened


class TestOverTheLine:
    def test_a_question_and_its_answer(self, session):
        x, y = person(8, "learn")
        asked = session.client.ask(x[0])
        assert asked.wanted and asked.threshold == np.inf and asked.cycles_forward > 0
        reply = session.client.learn(int(y[0]))
        assert reply.predicted == asked.predicted and reply.cycles_backward >= 0
        assert session.client.hello().steps == 1

    def test_an_answer_needs_its_question(self, session):
        x, _ = person(8, "learn")
        client = session.client
        learn = (client, Command.LEARN, label_body(1))
        assert refusal(*learn) is Status.INCOMPLETE
        client.ask(x[0])
        assert refusal(client, Command.LEARN, label_body(7)) is Status.RANGE
        client.learn(1)
        assert refusal(*learn) is Status.INCOMPLETE  # once
        for between in (
            lambda: client.upload(x[1]),
            lambda: client.train(x[1], 1),
            lambda: client.infer(x[1]),
            client.flush,
            client.reset,
            client.hello,
            lambda: client.write_parameter(0, client.read_parameter(0)),
        ):
            client.ask(x[0])
            between()
            assert refusal(*learn) is Status.INCOMPLETE
        client.ask(x[0])
        client.statistics()
        client.setting("explore", 20)
        client.learning_rate()
        client.learn(1)

    def test_settings_have_ranges_and_last_until_the_reset(self, session):
        client = session.client
        for record in session.manifest.settings:
            assert client.setting(record.name) == np.float32(record.default)
            for value in (record.least, record.most):
                assert client.setting(record.name, value) == np.float32(value)
            for value in (record.least - 1, record.most * 2 + 1, np.inf, np.nan):
                with pytest.raises(DataError, match="give a number from"):
                    client.setting(record.name, value)
        body = b"\x02\0\0\0" + np.float32(np.nan).tobytes()
        assert refusal(client, Command.SETTING, body) is Status.RANGE
        assert refusal(client, Command.SETTING, b"\x63\0\0\0") is Status.RANGE
        assert refusal(client, Command.SETTING, b"\0\0\0\0\0\0") is Status.LENGTH
        assert client.setting("guard_margin") == 1
        client.reset()
        assert client.setting("guard_margin") == np.float32(0.1)

    def test_a_run_logs_questions_bytes_and_events(self, session, tmp_path):
        x, y = person(8, "learn")
        summary = session.train(
            x, y, query=True, settings={"least_trained": 10}, run=tmp_path / "run"
        )
        assert summary.asked is not None and summary.answered == summary.asked < len(y)
        run = runlog.read(tmp_path / "run")
        assert run.record.settings == {"least_trained": 10}
        assert run.record.query is not None and run.record.query.answered_by == "the data"
        learned = [step for step in run.steps if step.learned]
        assert len(learned) == summary.asked and all(step.loss is not None for step in learned)
        to, back = run.record.query.labels
        assert (to, back) == (14 * summary.asked, 34 * summary.asked)
        assert run.record.query.samples[0] > x.nbytes // len(x) * len(y)
        assert session.client.hello().steps == summary.asked - summary.held_back

    def test_a_host_that_never_answers_teaches_nothing(self, session, tmp_path):
        x, y = person(8, "learn")
        before = session.client.read_parameter(0)
        summary = session.train(x, y, limit=30, query=True, silent=True, run=tmp_path / "run")
        assert (summary.samples, summary.asked, summary.answered) == (30, 30, 0)
        assert summary.query is not None and summary.query.labels == (0, 0)
        np.testing.assert_array_equal(session.client.read_parameter(0), before)

    def test_a_teacher_answers_in_the_place_of_the_labels(self, session, tmp_path):
        x, y = person(8, "learn")
        run = tmp_path / "run"
        summary = session.train(x, y, limit=40, query=True, teacher=WATCH, run=run)
        assert summary.query is not None and summary.query.answered_by == WATCH.name
        import onnxruntime

        runtime = onnxruntime.InferenceSession(WATCH)
        name = runtime.get_inputs()[0].name
        for step in runlog.read(run).steps:
            [scores] = runtime.run(None, {name: x[step.sample][None]})
            assert step.answer == scores.argmax()

    def test_mistakes(self, session, tmp_path):
        x, y = person(8, "learn")

        def error(message, kind=UserError, **options):
            with pytest.raises(kind, match=message):
                session.train(x, y, run=tmp_path / "run", **options)

        from tests.frontend.models import weights

        small = saved(
            model([node("Gemm", ["x", "w"], "y")], ["N", 4], {"w": weights(4, 3)}), tmp_path
        )
        wide = replace_classes(tmp_path)
        error("the samples of this project", query=True, teacher=small)
        error("the teacher knows 3 classes, the board 7", query=True, teacher=wide)
        error("give --query", teacher=WATCH)
        error("give one of them", query=True, teacher=WATCH, silent=True)
        error("no setting 'nope'; it has query", DataError, settings={"nope": 1})
        error("explore = 0", DataError, settings={"explore": 0})
        assert not (tmp_path / "run").exists()


def replace_classes(folder: Path) -> Path:
    """A network on the watch's samples that knows three classes."""
    from tests.frontend.models import node, weights

    nodes = [node("Flatten", ["x"], "f"), node("Gemm", ["f", "w"], "y")]
    made = model(nodes, ["N", 6, 1, 100], {"w": weights(600, 3)})
    path = folder / "three"
    path.mkdir()
    return saved(made, path)
