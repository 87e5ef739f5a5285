"""Every pin of the board's settings is where the firmware drives it, on any port of pins."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports.conftest import Builder
from tests.ports.projects import keeping_board
from tests.ports.test_firmware import COMPILERS, Echo
from tinyodl.resources import BOARDS
from tinyodl.targets import boards
from tinyodl.virtual.unicorn_board import UnicornBoard

FEATHER = Path(__file__).parents[1] / "boards" / "feather_nrf52840.toml"
PHASES = ("idle", "forward", "backward", "update")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The boards there are, the Feather, and a Nucleo whose marker pins are on two ports."""
    folder = tmp_path_factory.mktemp("boards")
    shutil.copytree(BOARDS, folder, dirs_exist_ok=True)
    shutil.copy(FEATHER, folder)
    text = (folder / "nucleo_f446re.toml").read_text()
    text = text.replace("mark_0 = 32", "mark_0 = 50").replace("mark_1 = 33", "mark_1 = 6")
    (folder / "nucleo_other_pins.toml").write_text(text)
    return folder


@pytest.fixture(
    params=[
        *(f"feather_nrf52840 {compiler}" for compiler in COMPILERS),
        "nrf52840_dk gcc",
        "nucleo_f446re gcc",
        "nucleo_l476rg gcc",
        "nucleo_l4r5zi zig",
        *(f"nucleo_other_pins {compiler}" for compiler in COMPILERS),
    ]
)
def wire(
    request: pytest.FixtureRequest, folder: Path, echo: Builder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[UnicornBoard]:
    name, compiler = request.param.split()
    monkeypatch.setattr(boards, "BOARDS", folder)
    with UnicornBoard(keeping_board(name), echo(name, compiler).elf) as board:
        yield board


def test_the_led_lights_on_a_fault_and_the_marker_pins_follow_it(wire: UnicornBoard) -> None:
    settings, line = wire.board.settings, Echo(wire)
    lit = settings.get("led_on", 1)
    assert wire.level(settings["led"]) == 1 - lit, "dark after the start"
    for on in (1, 0, 1, 0):
        assert line.number("l", on) == 0
        assert wire.level(settings["led"]) == (lit if on else 1 - lit)
        assert wire.level(settings["mark_0"]) == wire.level(settings["mark_1"]) == on


def test_the_marker_pins_show_the_phase_and_leave_the_led_dark(wire: UnicornBoard) -> None:
    settings, line = wire.board.settings, Echo(wire)
    for phase, title in enumerate(PHASES):
        before = wire.counters()[title].instructions
        assert line.number("m", phase) == 0
        line.ask("h", expect=16)
        levels = wire.level(settings["mark_0"]), wire.level(settings["mark_1"])
        assert levels == (phase & 1, phase >> 1)
        assert wire.level(settings["led"]) == 1 - settings.get("led_on", 1)
        assert wire.counters()[title].instructions > before
