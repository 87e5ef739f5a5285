"""Build a project, put it on its board, and check that the right firmware answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinyodl import manifest as manifest_file
from tinyodl import pio
from tinyodl.boards import load_board
from tinyodl.device.connect import find_port
from tinyodl.device.link import PATIENCE
from tinyodl.energy import link_of
from tinyodl.errors import BoardError, UserError
from tinyodl.manifest import Manifest
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
    project: Path,
    port: str | None = None,
    patience: float = PATIENCE,
    *,
    progress: OnLine | None = None,
) -> Flashed:
    """Build `project`, upload it or boot it, and say hello to it.

    `port` and `patience` are as for `Session`. `progress` gets each line that the build tool
    prints. Raises UserError for a project or port that cannot be used, ToolError when building or
    uploading fails, and BoardError when the board does not answer with this firmware.
    """
    manifest = manifest_file.load(project)
    board = load_board(manifest.board)
    uploaded = link_of(port, board) == "serial"
    # Ask for a port before a minute of building, not after.
    line = find_port(board) if uploaded and port is None else port
    build = pio.build(project, board, progress=progress)
    if uploaded:
        pio.upload(project, board, line, progress=progress)
    # Without --port the board is looked for again: it may come back as another serial device.
    with _greet(project, port, patience, RETURN_SECONDS if uploaded else 0.0) as session:
        return Flashed(
            manifest,
            build,
            session.port,
            uploaded,
            session.hello.generation,
            session.hello.steps,
        )


def _greet(project: Path, port: str | None, patience: float, seconds: float) -> Session:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return Session(project, port, patience)
        except (BoardError, UserError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)
