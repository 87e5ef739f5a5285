"""QEMU as a board: `qemu-system-arm -M netduinoplus2` runs an STM32F405 image unchanged.

With `-icount shift=0` each instruction takes one nanosecond of the board's time, so timer 2, which
QEMU clocks with 1 GHz, counts executed instructions exactly. QEMU's flash is read-only: a save is
answered with an error, and what was learned is gone when the board is closed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

from tinyodl.errors import BoardError, LineLostError, ToolError
from tinyodl.targets.boards import Board

PROGRAM = "qemu-system-arm"
MACHINE = "netduinoplus2"
CHUNK = 65536
# Linux ends the child with its parent, however that ends: PR_SET_PDEATHSIG, SIGKILL. The parent
# may be gone before that is set.
_LAUNCH = """
import ctypes, os, sys
parent, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""


class QemuBoard:
    """A Transport to a QEMU process. It cannot outlive this process."""

    loses_nothing = True

    def __init__(self, board: Board, elf: Path, content: bytes | None = None) -> None:
        """Powers the board on. Raises ToolError when QEMU is missing or does not start.

        `content` are the bytes of `elf`, where they were read already: the file is not read again.
        """
        self.board = board
        self.name = f"QEMU {MACHINE}"
        program = shutil.which(PROGRAM)
        if program is None:
            raise ToolError(
                f"{PROGRAM} is not on PATH; install it (Debian, Ubuntu: "
                "apt install qemu-system-arm), or use --port virtual"
            )
        passed = None if content is None else _unnamed_file(content)
        kernel = str(elf) if passed is None else f"/dev/fd/{passed}"
        command = [
            *(program, "-M", MACHINE, "-kernel", kernel, "-icount", "shift=0"),
            *("-display", "none", "-monitor", "none", "-nodefaults"),
            *("-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line"),
        ]
        if sys.platform == "linux":
            command = [sys.executable, "-c", _LAUNCH, str(os.getpid()), *command]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the session, which still wants to save
                pass_fds=() if passed is None else (passed,),
            )
        except OSError as error:
            raise ToolError(f"{program} does not start ({error.strerror})") from error
        finally:
            if passed is not None:
                os.close(passed)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to = self._process.stdin
        self._from = self._process.stdout
        os.set_blocking(self._to.fileno(), False)
        self._answers = bytearray()  # bytes that came during a write
        self._end = weakref.finalize(self, _end, self._process)

    def write(self, data: bytes) -> None:
        """Writes, and reads meanwhile: QEMU takes no bytes while nobody takes its own."""
        left = memoryview(data)
        while left:
            self._require_open()
            readable, writable, _ = select.select([self._from], [self._to], [])
            if readable:
                self._receive()
            if writable:
                try:
                    left = left[self._to.write(left) or 0 :]
                except OSError as error:
                    raise self._gone() from error

    def read(self, timeout: float) -> bytes:
        self._require_open()
        deadline = time.monotonic() + timeout
        while not self._answers:
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self._from], [], [], left)
            if not readable:
                break
            self._receive()
        data = bytes(self._answers)
        self._answers.clear()
        return data

    def close(self) -> None:
        """Switches the board off."""
        self._end()

    def __enter__(self) -> QemuBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> None:
        data = os.read(self._from.fileno(), CHUNK)
        if not data:
            raise self._gone()
        self._answers += data

    def _require_open(self) -> None:
        if not self._end.alive:
            raise BoardError(f"{self.name} is closed")

    def _gone(self) -> LineLostError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        code = self._process.poll()
        assert self._process.stderr is not None
        said = "" if code is None else self._process.stderr.read().decode(errors="replace").strip()
        self.close()
        return LineLostError(f"{self.name} has ended with exit code {code}: {said or 'no message'}")


def _unnamed_file(content: bytes) -> int:
    """An open file without a name: only child processes that inherit it can reach it."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return os.dup(file.fileno())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Runs once: at close(), when the board is collected, or when Python ends."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
