"""tinyodl.toml on the command line: where it is read from, what wins over it, `tinyodl init`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.projects import WATCH


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    return Path(shutil.copy(WATCH / "watch_cnn_c7.onnx", folder))


def test_compile_reads_it_beside_the_model_and_says_so_in_a_line(tinyodl: Run, model: Path) -> None:
    config = model.parent / "tinyodl.toml"
    config.write_text('board = "host"\nout = "project"\nlearner = "rls"\nguard = 20\n')
    done = tinyodl("compile", model, "--json")
    assert done.values["training"]["optimizer"] == "rls"
    assert (model.parent / "project/tinyodl.json").is_file()
    assert f"Options of {config}: board, out, learner, guard\n" in done.err


def test_flags_win_over_it_and_parts_of_it_are_left_out(tinyodl: Run, model: Path) -> None:
    (model.parent / "tinyodl.toml").write_text(
        'board = "host"\nlearning_rate = 0.5\ndrift = true\n'
    )
    plain = tinyodl("plan", model, "--json").values
    assert plain["training"]["learning_rate"] == 0.5
    done = tinyodl("plan", model, "--lr", "0.25", "--without", "drift", "--json")
    assert done.values["training"]["learning_rate"] == 0.25
    assert done.values["ram_bytes"]["total"] < plain["ram_bytes"]["total"]
    assert "Options of " in done.err and "toml: board\n" in done.err
    refused = tinyodl("plan", model, "--without", "guard")
    assert refused.code == 2 and "says nothing of it" in refused.err


def test_another_file_is_named_and_read_in_its_place(tinyodl: Run, model: Path) -> None:
    (model.parent / "tinyodl.toml").write_text("nonsense")
    other = model.parent / "other.toml"
    other.write_text('board = "host"\nupdate = "full"\n')
    done = tinyodl("plan", model, "--config", other, "--json")
    assert {layer["updates"] for layer in done.values["layers"]} == {"weights"}
    refused = tinyodl("plan", model)
    assert refused.code == 2 and "tinyodl.toml: not valid TOML" in refused.err


def test_what_is_missing_is_named(tinyodl: Run, model: Path) -> None:
    refused = tinyodl("compile", model, "--board", "host")
    assert refused.code == 2 and "--out is missing" in refused.err


def test_a_plan_file_has_its_own_rule_beside_it_too(tinyodl: Run, model: Path) -> None:
    (model.parent / "plan.toml").write_text('[rule]\nloss = "mse"\n[layers]\n"/11/Gemm" = "bias"\n')
    (model.parent / "tinyodl.toml").write_text('board = "host"\nupdate = "plan.toml"\nbatch = 2\n')
    refused = tinyodl("plan", model)
    assert refused.code == 2 and "set batch there, and not in the file of options" in refused.err
    done = tinyodl("plan", model, "--without", "batch", "--json")
    assert done.values["training"]["loss"] == "mse"


def test_init_writes_a_file_that_changes_nothing_until_it_is_edited(
    tinyodl: Run, model: Path
) -> None:
    before = tinyodl("plan", model, "--board", "host", "--json").values
    assert tinyodl("init", model).code == 0
    config = model.parent / "tinyodl.toml"
    assert tinyodl("plan", model, "--board", "host", "--json").values == before
    config.write_text(config.read_text() + '\nboard = "host"\n')
    assert tinyodl("plan", model, "--json").values == before
    again = tinyodl("init", model)
    assert again.code == 2 and "is there already" in again.err


def test_init_prints_the_schema_and_writes_nothing(tinyodl: Run, model: Path) -> None:
    done = tinyodl("init", model, "--schema")
    assert "learner" in json.loads(done.out)["properties"]
    assert not (model.parent / "tinyodl.toml").exists()


@pytest.mark.parametrize("command", ["compile", "plan"])
def test_help_opens_with_what_most_people_need(tinyodl: Run, command: str) -> None:
    out = tinyodl(command, "--help").out
    first, rest = out.split("The network", 1)
    assert "What most people need" in first and "--learner" in first
    assert "--guard-memory" in rest and "--config" in rest
