"""Labels on request, drift, guard and settings from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.models import WATCH
from tinyodl.runs import log as runlog

LEARN = WATCH.parent / "person8_learn.npz"


@pytest.fixture
def project(tinyodl: Run, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    options = ("--query", "auto", "--error-budget", 0.1, "--drift", "--guard", "6:0.2")
    done = tinyodl("compile", WATCH, "--board", "host", "-o", folder, "--learner", "rls", *options)
    assert done.code == 0, done.err
    assert "asks for labels: auto within an error budget of 0.1" in " ".join(done.out.split())
    assert tinyodl("flash", folder, "--port", "host").code == 0
    return folder


def test_a_run_with_labels_on_request(tinyodl: Run, project: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stream = ("stream-train", project, "--port", "host", "--data", LEARN, "--query")
    settings = ("--set", "least_trained=20", "--set", "explore=4")
    done = tinyodl(*stream, *settings, "--run", run, "--json")
    values = done.values
    assert values["samples"] == 229 and values["answered"] == values["asked"] < 229
    assert values["query"]["labels"][0] == 14 * values["asked"]
    assert runlog.read(run).record.settings == {"least_trained": 20, "explore": 4}
    page = (run / "report.html").read_text()
    assert "Labels on request, drift, guard" in page and "labels (" in page
    shown = tinyodl("report", run)
    assert f"the board wanted {values['asked']} of 229 labels" in " ".join(shown.out.split())


def test_mistakes(tinyodl: Run, project: Path) -> None:
    for options, message in (
        (("--set", "explore"), "give NAME=VALUE"),
        (("--set", "explore=many"), "give NAME=VALUE"),
        (("--set", "guards=1"), "no setting 'guards'"),
        (("--set", "guard_margin=2"), "give a number from 0 to 1"),
        (("--silent",), "give --query"),
        (("--query", "--teacher", "nowhere.onnx"), "nowhere.onnx"),
    ):
        done = tinyodl("stream-train", project, "--port", "host", "--data", LEARN, *options)
        assert done.code == 2
        assert message in " ".join(done.err.split())


def test_queries_that_are_none(tinyodl: Run, tmp_path: Path) -> None:
    for options in (
        ("--query", "now"),
        ("--guard", "x"),
        ("--error-budget", 2, "--query", "auto"),
    ):
        done = tinyodl("plan", WATCH, "--board", "host", *options)
        assert done.code == 2
        assert f"{options[0][2:].replace('-', '_')} = {options[1]}" in " ".join(done.err.split())
