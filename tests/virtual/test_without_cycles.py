"""A processor whose cycles nobody has modelled: instructions, and neither time nor energy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import tinyodl
from tests.conftest import require_tool
from tests.models import SHIPPED
from tinyodl.errors import UserError
from tinyodl.report import tables, write_report
from tinyodl.report.values import profile_values
from tinyodl.resources import TEMPLATES
from tinyodl.runs import log as runlog
from tinyodl.session.energy import meter
from tinyodl.targets import chips
from tinyodl.targets.boards import load_board
from tinyodl.virtual.cycles import exception_cycles

BOARD = "nucleo_f446re"


@pytest.fixture
def m7(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family with a Cortex-M7 in the place of the STM32F4's processor; it has no cycle table."""
    ports = tmp_path / "ports"
    shutil.copytree(TEMPLATES / "ports", ports)
    file = ports / "stm32f4" / "family.toml"
    text = file.read_text()
    for old, new in (('cpu = "cortex-m4"', 'cpu = "cortex-m7"'), ('cycles = "cortex-m4"\n', "")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    file.write_text(text)
    monkeypatch.setattr(chips, "PORTS", ports)
    return ports


def trained(project: Path) -> runlog.Run:
    samples = np.linspace(-1, 1, 6 * 64, dtype=np.float32).reshape(6, 64)
    with tinyodl.Session(project, port="virtual") as session:
        summary = session.train(samples, np.arange(6))
    return runlog.read(Path(summary.run))


@pytest.mark.usefixtures("m7")
def test_a_run_states_instructions_only(tmp_path: Path) -> None:
    require_tool("arm-none-eabi-gcc")
    project = tmp_path / "p"
    tinyodl.compile(SHIPPED[0], BOARD, project)
    tinyodl.flash(project, port="virtual")
    run = trained(project)
    said = run.summary
    assert said.instructions is not None and said.instructions["forward"] > 1000
    assert (said.cycles, said.ms_per_step, said.mj_per_step, said.energy_source) == (None,) * 4
    assert "no model of the cycles of a cortex-m7" in said.time_source
    assert all(step.cycles is None and step.ms is None and step.mj is None for step in run.steps)

    console = Console(record=True, width=160)
    tables.print_runs(console, [run])
    write_report([run], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for text in (console.export_text(), page):
        assert "instructions" in text and "cycles of a cortex-m7" in text

    profile = tinyodl.profile(project)
    assert profile.step.cycles == 0 and profile.step.instructions > 1000
    shares = [node["share"] for node in profile_values(profile)["nodes"] if not node["within"]]
    assert 0.5 < sum(shares) <= 1
    tables.print_profile(console, profile)
    assert "no model of the cycles of a cortex-m7" in " ".join(console.export_text().split())


def test_the_same_instructions_are_counted_with_a_model_and_without(
    tmp_path: Path, m7: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same code: what is counted does not depend on what it costs."""
    require_tool("arm-none-eabi-gcc")
    counted = []
    for cycles in ("", 'cycles = "cortex-m4"\n'):
        ports = tmp_path / f"ports{len(counted)}"
        shutil.copytree(m7, ports)
        file = ports / "stm32f4" / "family.toml"
        file.write_text(file.read_text().replace("startup =", f"{cycles}startup ="))
        monkeypatch.setattr(chips, "PORTS", ports)
        project = tmp_path / f"p{len(counted)}"
        tinyodl.compile(SHIPPED[0], BOARD, project)
        tinyodl.flash(project, port="virtual")
        counted.append(tinyodl.profile(project).step)
    assert counted[0].instructions == counted[1].instructions
    assert counted[0].cycles == 0 < counted[1].cycles


@pytest.mark.usefixtures("m7")
def test_only_a_real_board_has_time_then() -> None:
    board = load_board(BOARD)
    assert meter(board, "virtual", 0, board.clock_hz).ms(1000) is None
    assert meter(board, "virtual", 0, board.clock_hz).mj(1000) is None
    assert meter(board, "serial", 0, board.clock_hz).ms(180_000) == pytest.approx(1.0)


def test_a_model_of_cycles_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="of a 'cortex-m33', only of a cortex-m4;"):
        exception_cycles("cortex-m33")
