"""Every command with a model, data, project and run whose names are as bad as names can be."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
import rich_click

from tests import hostile
from tests.cli.conftest import Outcome, Run
from tests.projects import require_arm_compiler
from tinyodl.cli.main import tinyodl as commands
from tinyodl.pio.doctor import Check
from tinyodl.report import tables
from tinyodl.report.terminal import Terminal

PLAN_FAULT = "[red]x[/red][/]"  # as a node's name it ended `plan` once


def said(done: Outcome) -> str:
    """What a command that worked printed, in which nothing moves the cursor."""
    assert done.code == 0, done.out + done.err
    harmless(done)
    return done.out


def harmless(done: Outcome) -> None:
    for text in (done.out, done.err):
        assert re.sub(r"[\n\t]", "", text).isprintable()
        text.encode("utf-8")


@pytest.mark.parametrize("seed", range(4))
def test_plan_shows_every_layer_by_its_name(tinyodl: Run, tmp_path: Path, seed: int) -> None:
    path = hostile.chain(tmp_path / "m.onnx", hostile.distinct(random.Random(seed)))
    done = said(tinyodl("plan", path, "--board", "host", "--update", "full"))
    assert done.count(hostile.MARK) >= 2
    values = tinyodl("plan", path, "--board", "host", "--json").values
    gemms = [n.name for n in onnx.load(path).graph.node if n.op_type == "Gemm"]
    assert [layer["name"] for layer in values["layers"]] == gemms


def test_markup_in_a_name_is_text(tinyodl: Run, tmp_path: Path) -> None:
    names = iter([PLAN_FAULT, *(f"{PLAN_FAULT}{i}" for i in range(99))])
    path = hostile.chain(tmp_path / "m.onnx", names)
    assert f"{PLAN_FAULT}3" in said(tinyodl("plan", path, "--board", "host"))


def test_from_plan_to_export(tinyodl: Run, tmp_path: Path) -> None:
    """On the virtual board, for which the names are compiled, linked and counted."""
    require_arm_compiler()
    named = hostile.distinct(random.Random(5))
    folder = tmp_path / "\x1b[31m[red] \r ü"
    folder.mkdir()
    path = hostile.chain(folder / hostile.file_name(f"*/{next(named)}.onnx"), named)
    random_ = np.random.default_rng(0)
    data = folder / hostile.file_name(f"{next(named)}.npz")
    np.savez(data, x=random_.normal(size=(12, 4)).astype(np.float32), y=random_.integers(0, 3, 12))
    project, run = tmp_path / "project", folder / "[/]run\x07"
    on_board = ("--port", "virtual")
    board = ("--board", "nrf52840_dk", "--update", "full")
    said(tinyodl("compile", path, *board, "-o", project))
    said(tinyodl("flash", project, *on_board))
    trained = tinyodl(
        "stream-train", project, *on_board, "--data", data, "--eval", data, "--run", run
    )
    said(trained)
    said(tinyodl("evaluate", project, *on_board, "--data", data))
    said(tinyodl("profile", project, "--data", data))
    said(tinyodl("report", run, "--html", folder / "page.html"))
    assert json.loads(said(tinyodl("report", run, "--json")))
    assert "\x1b" not in (folder / "page.html").read_text("utf-8")
    said(tinyodl("export", project, *on_board, "-o", folder / "out\n.onnx"))
    learned, before = onnx.load(folder / "out\n.onnx"), onnx.load(path)
    assert [n.name for n in learned.graph.node] == [n.name for n in before.graph.node]
    kept = {tensor.name for tensor in learned.graph.initializer}
    assert kept == {tensor.name for tensor in before.graph.initializer}
    assert learned.graph.initializer[0].raw_data != before.graph.initializer[0].raw_data


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "no\x1b[2J[/]\r.onnx", "--board", "host"),
        ("plan", "no.onnx", "--board", "[/]\x1b]0;x\x07"),
        ("plan", "no.onnx", "--board", "host", "--lr", "[/]\x1b[31m"),
        ("flash", "[bold]\x9b2J"),
        ("report", "\r[/]"),
        ("[/]\x1b[31m",),
    ],
)
def test_an_error_repeats_what_was_given_without_obeying_it(tinyodl: Run, arguments) -> None:
    done = tinyodl(*arguments)
    assert done.code == 2 and "a fault of tinyodl" not in done.err
    harmless(done)


def test_doctor_says_the_whole_remedy() -> None:
    terminal = Terminal(width=200)
    with terminal.capture() as captured:
        tables.print_checks(terminal, [Check("x", "", "pip install 'tinyodl[compiler]'")])
    assert "pip install 'tinyodl[compiler]'" in captured.get()


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_help_shows_all_that_is_written(tinyodl: Run, monkeypatch, name: str) -> None:
    """Brackets of ours are no markup either."""
    monkeypatch.setattr(rich_click.rich_click, "MAX_WIDTH", None)
    monkeypatch.setenv("COLUMNS", "1000")
    shown = "".join(said(tinyodl(name, "-h")).split())
    for option in commands.commands[name].params:
        if isinstance(option, click.Option) and option.help:
            assert "".join(option.help.split()) in shown
