"""The demonstration, cut short: the same steps over fewer windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.projects import require_arm_compiler
from tinyodl import demo
from tinyodl.cli.main import tinyodl
from tinyodl.runs import log as runlog
from tinyodl.samples import data
from tinyodl.samples.data import Samples


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    require_arm_compiler()
    load = data.load

    def load_few(*arguments: Any) -> Samples:
        whole = load(*arguments)
        return Samples(whole.x[::15], whole.y[::15], whole.source)

    monkeypatch.setattr(data, "load", load_few)
    monkeypatch.setattr(demo, "SEEDS", (0, 1, None))


@pytest.mark.usefixtures("short")
def test_the_demo_learns_on_the_virtual_board_and_leaves_a_report(tmp_path: Path) -> None:
    for _ in range(2):  # the second time over the first
        done = CliRunner().invoke(tinyodl, ["demo", "--out", str(tmp_path)])
        assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    for phrase in ("Shuffled: accuracy", "mean of 2 seeds", "In recorded order, SGD", "KiB linked",
                   "recursive least squares, begun at zero",
                   "modelled cycles", "estimated, not measured", "report.html"):  # fmt: skip
        assert phrase in text
    page = (tmp_path / "report.html").read_text()
    names = ("sgd-shuffled-0", "sgd-recorded-order", "rls-recorded-order")
    assert all(name in page for name in names)
    runs = [runlog.read(tmp_path / "runs" / name) for name in names]
    assert [len(run.steps) for run in runs] == [16, 16, 16]
    assert runs[0].record.before == runs[1].record.before  # each began with the file's weights
    assert runs[0].record.data == "person8_learn.npz"


@pytest.mark.usefixtures("short")
def test_the_demo_never_empties_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "runs" / "sgd-shuffled-0" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    done = CliRunner().invoke(tinyodl, ["demo", "--out", str(tmp_path)])
    assert done.exit_code == 2 and "give another folder with --out" in done.stderr
    assert mine.read_text() == "years of work"
