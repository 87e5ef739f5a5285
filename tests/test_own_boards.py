"""A board that tinyodl does not ship: its file, by path or in a folder `boards`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import tinyodl
from tests.conftest import require_tool
from tests.models import SHIPPED
from tinyodl.cli.main import tinyodl as commands
from tinyodl.errors import UserError
from tinyodl.pio.standins import core_files
from tinyodl.project import manifest
from tinyodl.resources import BOARDS
from tinyodl.targets import boards
from tinyodl.targets.boards import find_board

FEATHER = Path(__file__).with_name("boards") / "feather_nrf52840.toml"
OLD_KEYS = ('family = "nrf52840"', 'port = "nrf52840"\ncpu = "cortex-m4f"')


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder without boards."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_board_file_is_compiled_built_and_run_without_its_file(
    tmp_path: Path, elsewhere: Path
) -> None:
    """The project has a copy, and goes by what it was compiled for."""
    require_tool("arm-none-eabi-gcc")
    shutil.copy(FEATHER, elsewhere / "mine.toml")
    project = tmp_path / "p"
    arguments = ["compile", str(SHIPPED[0]), "--board", "./mine.toml", "-o", str(project)]
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 0, done.output
    assert "--port virtual" in done.output
    (elsewhere / "mine.toml").unlink()
    assert (project / "boards" / "mine.toml").read_text() == FEATHER.read_text()
    assert 'TINYODL_BOARD "mine"' in (project / "lib/port/config.h").read_text()
    assert "ORIGIN = 0x00026000" in (project / "lib/port/link.ld").read_text()
    tinyodl.flash(project, port="virtual")
    with tinyodl.Session(project, port="virtual") as session:
        assert session.board.title == "Adafruit Feather nRF52840"


@pytest.mark.parametrize("where", ["beside the model", "here"])
def test_a_folder_of_boards_is_searched(tmp_path: Path, elsewhere: Path, where: str) -> None:
    model = tmp_path / "models" / "net.onnx"
    folder = (elsewhere if where == "here" else model.parent) / "boards"
    folder.mkdir(parents=True)
    model.parent.mkdir(exist_ok=True)
    shutil.copy(SHIPPED[0], model)
    shutil.copy(FEATHER, folder)
    assert tinyodl.plan(model, "feather_nrf52840").board == "feather_nrf52840"


def test_the_folder_beside_the_model_comes_first(tmp_path: Path, elsewhere: Path) -> None:
    model = tmp_path / "models" / "net.onnx"
    for folder, title in ((elsewhere, "far"), (model.parent, "near")):
        (folder / "boards").mkdir(parents=True)
        text = FEATHER.read_text().replace("Adafruit Feather nRF52840", title)
        (folder / "boards" / "mine.toml").write_text(text)
    assert find_board("mine", model).title == "near"


@pytest.mark.parametrize("asked", ["nano33ble", "boards/nano33ble.toml"])
def test_a_name_that_tinyodl_has_is_refused(elsewhere: Path, asked: str) -> None:
    (elsewhere / "boards").mkdir()
    shutil.copy(FEATHER, elsewhere / "boards" / "nano33ble.toml")
    with pytest.raises(UserError, match=r"boards/nano33ble\.toml: tinyodl has a board 'nano33ble'"):
        find_board(asked)


@pytest.mark.parametrize("asked", ["nano33ble", "boards/nano33ble.toml"])
def test_a_checkout_of_tinyodl_has_the_files_themselves(elsewhere: Path, asked: str) -> None:
    shutil.copytree(BOARDS, elsewhere / "boards")
    assert find_board(asked).own == ""


def test_one_bad_file_leaves_the_others(elsewhere: Path) -> None:
    (elsewhere / "boards").mkdir()
    shutil.copy(FEATHER, elsewhere / "boards")
    (elsewhere / "boards" / "broken.toml").write_text("title = ")
    shutil.copy(FEATHER, elsewhere / "boards" / "host.toml")
    done = CliRunner().invoke(commands, ["boards"])
    assert done.exit_code == 0
    for name in ("feather_nrf52840", "nano33ble", "nucleo_l4r5zi"):
        assert name in done.stdout
    assert "broken.toml: not valid TOML" in done.stderr
    assert "host.toml: tinyodl has a board 'host' already" in done.stderr
    assert find_board("feather_nrf52840").own and find_board("nrf52840_dk")


def test_the_checks_of_every_board_are_those_of_ones_own(elsewhere: Path) -> None:
    path = elsewhere / "mine.toml"
    path.write_text(FEATHER.read_text().replace("0x000C_0000]", "0x000E_0000]"))
    with pytest.raises(UserError, match=r"mine\.toml: slot 2 .* boot loader 'UF2'"):
        find_board(str(path))
    with pytest.raises(UserError, match=r"none\.toml: cannot be read: No such file"):
        find_board("none.toml")
    with pytest.raises(UserError, match=r"unknown; .* such as \./none\.toml, or one in boards"):
        find_board("none")


def test_a_file_of_an_earlier_version_still_loads(elsewhere: Path) -> None:
    assert FEATHER.read_text().count(OLD_KEYS[0]) == 1
    (elsewhere / "old.toml").write_text(FEATHER.read_text().replace(*OLD_KEYS))
    assert find_board("old.toml").family == "nrf52840"


def test_what_a_project_says_of_its_board_is_checked_again(tmp_path: Path) -> None:
    """As in a project that somebody sent."""
    project = tmp_path / "p"
    made = tinyodl.compile(SHIPPED[0], FEATHER, project)
    file = made.board_file.replace("size = 0x0007_A000", "size = 0x0009_A000")
    sent = made.model_copy(update={"board_file": file})
    (project / "tinyodl.json").write_text(manifest.dump(sent))
    with pytest.raises(UserError, match=r"board feather_nrf52840: the program .* overlap"):
        tinyodl.flash(project, port="virtual")
    assert not (project / ".pio").exists()


def test_platformio_gets_the_board_where_its_registry_cannot_be_reached() -> None:
    own = find_board(str(FEATHER))
    name = "platforms/nordicnrf52/boards/adafruit_feather_nrf52840.json"
    assert name not in core_files()
    assert b"Adafruit Feather" in core_files(own)[name]
    assert boards.board_names() == sorted(path.stem for path in BOARDS.glob("*.toml"))
