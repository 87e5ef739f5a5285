"""Runs side by side: nothing is averaged that differs, and nothing is left out without a word."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.fakes import manifest, record, step
from tinyodl.cli.main import tinyodl
from tinyodl.report import report_html, tables
from tinyodl.report.experiments import differences, spread_sentences, spreads
from tinyodl.runs.log import Run, RunLog
from tinyodl.runs.record import Evaluation


def evaluation(accuracy: float) -> Evaluation:
    return Evaluation(samples=4, loss=1.0, accuracy=accuracy, confusion=((1, 0), (0, 1)))


def run(name: str, seed: int | None, accuracy: float = 0.75, plan: dict | None = None, **changes):
    fields = {
        "shuffle": seed,
        "data": "arrays",
        "data_digest": "a" * 64,
        "eval_data": "arrays",
        "eval_digest": "b" * 64,
        "before": evaluation(0.5),
        "after": evaluation(accuracy),
    } | changes
    steps = tuple(step(index) for index in range(30))
    return Run(Path("runs") / name, record(**fields), manifest(**(plan or {})), steps)


def printed(runs) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    tables.print_runs(console, runs)
    return " ".join(console.export_text().split())


def test_runs_on_other_data_of_the_same_name_are_not_averaged():
    runs = [run("a", 0), run("b", 1, data_digest="c" * 64)]
    assert spreads(runs) == []
    assert differences(runs) == {"data": ["arrays aaaaaa", "arrays cccccc"]}
    assert "Mean of" not in printed(runs)


def test_runs_on_the_same_data_under_two_names_are_one_experiment():
    runs = [run("a", 0), run("b", 1, data="day2.npz", eval_data="test.npz")]
    assert differences(runs) == {} and len(spreads(runs)) == 1
    runs = [run("a", 0, data_digest=None), run("b", 1, data="day2.npz", data_digest=None)]
    assert differences(runs) == {"data": ["arrays", "day2.npz"]}


def test_remarks_about_the_data_are_told_once_in_the_terminal_and_on_the_page():
    runs = [run(name, None, remarks=("a.npz: x holds whole numbers",)) for name in "ab"]
    for text in (printed(runs), report_html(runs)):
        assert text.count("a.npz: x holds whole numbers.") == 1


@pytest.mark.parametrize(
    ("changes", "column", "cells"),
    [
        ({"learning_rate": 0.5}, "rate", ["0.0100", "0.500"]),
        ({"epochs": 3}, "epochs", ["1", "3"]),
        ({"limit": 10}, "limit", ["-", "10"]),
        ({"eval_digest": "d" * 64}, "tested on", ["arrays bbbbbb", "arrays dddddd"]),
        ({"settings": {"drift": 0.0}}, "set drift", ["-", "0"]),
        ({"steps_before": 229}, "learned before", ["0", "229"]),
        ({"plan": {"optimizer": "adam"}}, "optimizer", ["sgd", "adam"]),
        ({"plan": {"loss": "one-hot"}}, "loss", ["cross-entropy", "one-hot"]),
        ({"plan": {"batch": 8}}, "batch", ["1", "8"]),
        ({"board": "host"}, "board", ["nrf52840_dk", "host"]),
        ({"model_id": "ffff000011112222"}, "firmware", ["00112233", "ffff0000"]),
    ],
)
def test_every_setting_that_differs_is_a_column_and_parts_the_means(changes, column, cells):
    others = [run("c", 0, 0.25, **changes), run("d", 1, 0.5, **changes)]
    runs = [run("a", 0), run("b", 1), *others]
    assert differences([runs[0], others[0]])[column] == cells
    groups = spreads(runs)
    assert [spread.after for spread in groups] == [(0.75, 0.75), (0.25, 0.5)]
    for spread, cell in zip(groups, cells, strict=True):
        assert f"{column} {cell}" in spread.name
        assert f"Mean of 2 shuffled runs ({spread.name})" in printed(runs)
    assert column in report_html(runs)


def test_a_firmware_is_no_column_beside_what_made_it():
    runs = [run("a", 0), run("b", 0, plan={"batch": 8}, model_id="f" * 16)]
    assert list(differences(runs)) == ["batch"]


def test_a_mean_is_of_all_befores_and_of_harmed_runs_too():
    runs = [run("a", 0), run("b", 1, 0.25, before=evaluation(0.7), status="harmed")]
    [sentence] = spread_sentences(runs)
    assert sentence == (
        "Mean of 2 shuffled runs: 60.0 ± 14.1 % before, 50.0 ± 35.4 % after (± standard deviation)."
    )


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([run("a", 3), run("b", 3)], "seed 3 comes more than once"),
        ([run("a", 0), run("b", 1, after=None)], "not all were evaluated before and after"),
    ],
)
def test_runs_that_have_no_mean_are_told_why(runs, reason):
    assert f"The 2 shuffled runs are not averaged: {reason}" in printed(runs)
    assert reason in report_html(runs)


def test_one_change_of_label_is_one_change():
    steps = tuple(step(i, label=i // 15) for i in range(30))
    whole = run("a", None)
    told = printed([Run(whole.folder, whole.record, whole.manifest, steps)])
    assert "blocks, 1 change in 30 samples" in told


def test_labels_in_blocks_are_told_in_the_terminal_and_on_the_page():
    blocks = [step(i, label=i // 10, predicted=max(i - 1, 0) // 10) for i in range(30)]
    whole = run("a", None)
    runs = [Run(whole.folder, whole.record, whole.manifest, tuple(blocks))]
    for text in (printed(runs), " ".join(report_html(runs).split())):
        assert "0.0 % *" in text
        assert (
            "labels come in blocks, 2 changes in 30 samples. The 93.3 % predicted right before "
            "learning is no evidence there"
        ) in text
    assert "no evidence" not in printed([whole])


def test_a_folder_of_runs_is_all_of_its_runs_and_a_sheet_has_a_row_for_each(tmp_path):
    for name, seed, started in (("b", 1, "2026-01-01"), ("a", 0, "2026-01-02"), ("c", 2, "2026")):
        whole = run(name, seed, started=started)
        log = RunLog(tmp_path / "runs" / name, whole.record, whole.manifest)
        for each in whole.steps:
            log.step(each)
        log.close()
    (tmp_path / "runs" / "c" / "run.json").write_text("{")
    sheet = tmp_path / "all.csv"
    arguments = ["report", str(tmp_path / "runs"), "--csv", str(sheet)]
    done = CliRunner().invoke(tinyodl, arguments)
    assert done.exit_code == 0, done.output
    assert "Left out:" in done.stderr and "Mean of 2 shuffled runs" in done.stdout
    rows = list(csv.DictReader(sheet.read_text().splitlines()))
    assert [(row["run"], row["shuffle"], row["accuracy_after"]) for row in rows] == [
        ("b", "1", "0.75"),
        ("a", "0", "0.75"),
    ]
    assert rows[0]["optimizer"] == "sgd" and rows[0]["data_digest"] == "a" * 64
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = CliRunner().invoke(tinyodl, ["report", str(empty)])
    assert refused.exit_code == 2 and "holds no run" in refused.stderr
