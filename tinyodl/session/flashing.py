"""Build a project, put it on its board, and check that the right firmware answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tinyodl import pio
from tinyodl.device.connect import find_port
from tinyodl.device.link import PATIENCE
from tinyodl.device.transport import lock_device
from tinyodl.errors import BoardError, UserError
from tinyodl.files.file_lock import FileLock
from tinyodl.files.project_files import lock_project
from tinyodl.project import manifest as manifest_file
from tinyodl.project.manifest import Manifest, board_of, described_board
from tinyodl.session.energy import link_of
from tinyodl.session.session import Session
from tinyodl.targets.flash_regions import require_regions

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
    uploading fails, InUseError while another has the project or the board, and BoardError when the
    board does not answer with this firmware.

    This is the one command that runs what a project says: building it may run scripts that its
    `platformio.ini` names, and board "host" is a program of this machine.
    """
    with contextlib.ExitStack() as stack:
        lock = lock_project(project)
        if lock is not None:
            stack.enter_context(lock)
        manifest = manifest_file.load(project)
        board = described_board(manifest)
        _require_one_compile(project, manifest)
        require_regions(project, board_of(manifest))
        uploaded = link_of(port, board) == "serial"
        # Ask for a port before a minute of building, not after.
        line = find_port(board) if uploaded and port is None else port
        device = lock_device(line) if uploaded and line is not None else None
        try:
            build = pio.build(project, board, progress=progress)
            if uploaded:
                pio.upload(project, board, line, progress=progress)
        finally:
            if device is not None:
                device.release()
        # Without --port the board is looked for again: it may come back as another serial device.
        session = _greet(project, port, patience, RETURN_SECONDS if uploaded else 0.0, lock)
        with session:
            return Flashed(
                manifest,
                build,
                session.port,
                uploaded,
                session.hello.generation,
                session.hello.steps,
            )


def _require_one_compile(project: Path, manifest: Manifest) -> None:
    """Raises UserError where the project's files are of several compiles."""
    board = f"[env:{manifest.board}]"
    network = ", ".join(f"0x{byte:02x}" for byte in bytes.fromhex(manifest.model_id))
    port = f'"{manifest.board}"'
    checks: dict[str, Callable[[bytes], bool]] = {
        "platformio.ini": lambda content: board.encode() in content,
        "lib/net/net.h": lambda content: network.encode() in content,
        "lib/port/config.h": lambda content: port.encode() in content,
        manifest_file.MODEL_NAME: lambda content: (
            sha256(content).hexdigest() == manifest.model.sha256
        ),
    }
    for name, fits in checks.items():
        path = project / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; compile again") from error
        if not fits(content):
            raise UserError(f"{path} is of another compile than tinyodl.json; compile again")


def _greet(
    project: Path, port: str | None, patience: float, seconds: float, lock: FileLock | None
) -> Session:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return Session(project, port, patience, lock=lock)
        except (BoardError, UserError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)
