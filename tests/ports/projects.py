"""Generated projects with a small firmware of the tests instead of a network."""

from __future__ import annotations

from pathlib import Path

from tinyodl.codegen.environment import environment
from tinyodl.resources import TEMPLATES
from tinyodl.targets import firmware
from tinyodl.targets.boards import Board, load_board
from tinyodl.targets.chips import PORTS

HERE = Path(__file__).parent


def keeping_board(name: str) -> Board:
    """A board whose network keeps features in flash, where it can, in the least there is of it."""
    board = load_board(name)
    keeps = board.store and not board.target.flash_once
    return board.keeping(board.whole(1), 0) if keeps else board


def write_project(project: Path, board_name: str, main: str | None = None) -> Path:
    """Everything that `compile` writes but lib/net and lib/device, with echo.c as src/main.c."""
    board = keeping_board(board_name)
    files = {"platformio.ini": TEMPLATES / "project" / "platformio.ini.j2"}
    for folder in ("", *board.target.folders):
        for path in (PORTS / folder).glob("*.*"):
            files[f"lib/port/{path.name.removesuffix('.j2')}"] = path
    for name, path in files.items():
        target = project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".j2":
            template = environment().from_string(path.read_text())
            target.write_text(template.render(board=board, firmware=firmware, version="0"))
        else:
            target.write_bytes(path.read_bytes())
    (project / "src").mkdir(exist_ok=True)
    (project / "src" / "main.c").write_text(main or (HERE / "echo.c").read_text())
    return project
