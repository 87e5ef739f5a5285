"""Build a project, put it on its board, and check that the right firmware answers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinyodl import manifest as manifest_file
from tinyodl import pio
from tinyodl.boards import Board, load_board
from tinyodl.device.connect import find_port
from tinyodl.energy import link_of
from tinyodl.errors import BoardError, UserError
from tinyodl.manifest import Manifest, board_of
from tinyodl.stream import Session

OnLine = Callable[[str], None]

RETURN_SECONDS = 10.0  # a board that resets after an upload may take a new serial device


@dataclass(frozen=True)
class Flashed:
    """A board that answered. `generation` is of the weights in its store, 0 when it has none."""

    manifest: Manifest
    build: pio.Build
    port: str
    uploaded: bool  # False for emulated boards, which boot the image themselves
    generation: int
    learned_from: int  # samples behind the weights it started with


def flash_project(
    project: Path, port: str | None = None, *, progress: OnLine | None = None
) -> Flashed:
    """Build `project`, upload it or boot it, and say hello to it.

    `port` is as for `Session`. `progress` gets each line that the build tool prints. Raises
    UserError for a project or port that cannot be used, ToolError when building or uploading
    fails, and BoardError when the board does not answer with this firmware.
    """
    manifest = manifest_file.load(project)
    board = load_board(manifest.board)
    _check_regions(project, board_of(manifest))
    uploaded = link_of(port, board) == "serial"
    # Ask for a port before a minute of building, not after.
    line = find_port(board) if uploaded and port is None else port
    build = pio.build(project, board, progress=progress)
    if uploaded:
        pio.upload(project, board, line, progress=progress)
    # Without --port the board is looked for again: it may come back as another serial device.
    with _greet(project, port, RETURN_SECONDS if uploaded else 0.0) as session:
        return Flashed(
            manifest,
            build,
            session.port,
            uploaded,
            session.hello.generation,
            session.hello.steps,
        )


def _check_regions(project: Path, board: Board) -> None:
    """The project's C must erase and fill what the board's file, which was checked, allows.

    Raises UserError for a project of another board file: it might erase a boot loader.
    """
    if board.port == "host":
        return
    allowed = [(region.origin, region.size) for region in board.regions]
    program = [(board.flash.origin, board.flash.size)]
    for name, pattern, expected in (
        ("config.h", r"\{(0x[0-9A-F]+)u, (0x[0-9A-F]+)u\}", allowed),
        ("link.ld", r"FLASH \(rx\) : ORIGIN = (0x[0-9A-F]+), LENGTH = (0x[0-9A-F]+)", program),
    ):
        path = project / "lib" / "port" / name
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); compile the project again"
            ) from error
        if [(int(a, 16), int(b, 16)) for a, b in re.findall(pattern, text)] != expected:
            raise UserError(
                f"{path} names other regions of flash than the board {board.name} has with this "
                "tinyodl, and might erase a boot loader; compile the project again"
            )


def _greet(project: Path, port: str | None, patience: float) -> Session:
    deadline = time.monotonic() + patience
    while True:
        try:
            return Session(project, port)
        except (BoardError, UserError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)
