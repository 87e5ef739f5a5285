"""The host build: a project's firmware as a program of this machine, its serial line two pipes."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

from tinyodl.errors import BoardError, LineLostError, UserError
from tinyodl.files.built_here import checked_program, private_copy
from tinyodl.targets.boards import Board
from tinyodl.virtual import store_of

PROGRAM = Path(".pio/build/host/firmware.elf")  # where tinyodl.pio.build puts it
CLOSE_SECONDS = 2.0


class HostTransport:
    """A running host build. Its store is the file `store`, if one is given."""

    loses_nothing = True

    def __init__(self, program: Path, store: Path | None = None) -> None:
        """Starts the program. Raises BoardError when it cannot be started."""
        self.name = "host"
        environment = {name: value for name, value in os.environ.items() if name != "TINYODL_STORE"}
        if store is not None:
            environment["TINYODL_STORE"] = str(store)
        try:
            self._process = subprocess.Popen(
                [program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the session, which still wants to save
            )
        except OSError as error:
            raise BoardError(
                f"{program} does not start: {error.strerror}; build it again"
            ) from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to = self._process.stdin
        self._from = self._process.stdout

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._to.write(left) :]
        except (OSError, ValueError) as error:
            raise self._gone() from error

    def read(self, timeout: float) -> bytes:
        if self._from.closed:
            raise self._gone()
        ready, _, _ = select.select([self._from], [], [], max(timeout, 0.0))
        if not ready:
            return b""
        data = os.read(self._from.fileno(), 65536)
        if not data:
            raise self._gone()
        return data

    def close(self) -> None:
        """Closes the line, at which the program ends; ends it by force when it does not."""
        self._to.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from.close()

    def _gone(self) -> LineLostError:
        try:
            code = self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            return LineLostError("the host build has closed its line; start the session again")
        return LineLostError(
            f"the host build has ended with exit code {code}; start the session again"
        )


def boot(project: Path, board: Board) -> HostTransport:
    """Starts the program that `tinyodl flash` built; what it saves stays in a file of the project.

    Raises UserError when the project is for another board, or has not been built here from these
    sources, and on Windows, where the program would need its pipes to be files.
    """
    if os.name == "nt":
        raise UserError(
            "--port host needs POSIX (Linux, macOS, or WSL on Windows); use --port virtual, or a "
            "serial board"
        )
    if not board.on_host:
        raise UserError(
            f"{project} is for board {board.name}, not for this machine; "
            "compile with --board host to use --port host"
        )
    program = project / PROGRAM
    if not program.is_file():
        raise UserError(f"{project} has not been built; run `tinyodl flash {project}` first")
    content = checked_program(project, program)
    store = store_of(project).resolve()
    with private_copy(content) as copy:
        return HostTransport(copy, store)
