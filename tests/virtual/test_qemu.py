"""QEMU as a transport: it starts, answers, and never outlives the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_tool
from tests.virtual.conftest import Build
from tinyodl.errors import BoardError, ToolError
from tinyodl.targets.boards import Board
from tinyodl.virtual.qemu import QemuBoard

ROOT = Path(__file__).parents[2]
START_AND_FAIL = """
import sys, time
from pathlib import Path
from typing import Any
from tinyodl.targets.boards import load_board
from tinyodl.virtual.qemu import QemuBoard
qemu = QemuBoard(load_board("netduinoplus2"), Path(sys.argv[1]))
print(qemu._process.pid, flush=True)
{then}
"""


@pytest.fixture
def image(build: Build, netduino: Board) -> Path:
    require_tool("qemu-system-arm")
    return build("interrupts", netduino)


def test_long_messages_pass_in_both_directions(image: Path, netduino: Board) -> None:
    with QemuBoard(netduino, image) as qemu:
        while not qemu.read(0.1):  # QEMU drops bytes until the UART is on
            qemu.write(b"?")
        while qemu.read(0.2):
            pass
        qemu.write(b"?" * 2000)
        answer = b""
        while received := qemu.read(1.0):
            answer += received
    assert answer == b"!" * 2000


def test_a_silent_board_is_waited_for_no_longer_than_asked(
    image: Path, netduino: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def noted(*arguments: Any) -> tuple[list[Any], list[Any], list[Any]]:
        waits.append(arguments[3])
        return [], [], []

    with QemuBoard(netduino, image) as qemu:
        monkeypatch.setattr("tinyodl.virtual.qemu.select.select", noted)
        assert qemu.read(0.2) == b""
        monkeypatch.undo()
    assert waits and 0.0 < waits[0] <= 0.2 and sum(waits) <= 0.2


@pytest.mark.parametrize(
    "then",
    [
        "raise RuntimeError",
        "import os; os._exit(3)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "qemu.close(); time.sleep(60)",
    ],
)
def test_no_qemu_is_left_over(image: Path, then: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", START_AND_FAIL.format(then=then), str(image)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    try:
        pid = int(child.stdout.readline())
        while _runs(pid):  # pytest-timeout ends it where it does not
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_board_that_ends_says_why(tmp_path: Path, netduino: Board) -> None:
    require_tool("qemu-system-arm")
    nonsense = tmp_path / "firmware.elf"
    nonsense.write_bytes(b"")
    (tmp_path / "gone").mkdir()
    with (
        QemuBoard(netduino, tmp_path / "gone") as qemu,
        pytest.raises(BoardError, match=r"QEMU .* exit code 1: .*gone"),
    ):
        while True:
            qemu.read(5.0)


def test_a_closed_board_says_so(image: Path, netduino: Board) -> None:
    qemu = QemuBoard(netduino, image)
    pid = qemu._process.pid
    qemu.close()
    qemu.close()
    assert not _runs(pid)
    with pytest.raises(BoardError, match="is closed"):
        qemu.read(0.1)
    with pytest.raises(BoardError, match="is closed"):
        qemu.write(b"x")


def test_a_killed_qemu_is_noticed(image: Path, netduino: Board) -> None:
    with QemuBoard(netduino, image) as qemu:
        os.kill(qemu._process.pid, signal.SIGKILL)
        with pytest.raises(BoardError, match="has ended with exit code -9"):
            qemu.read(5.0)


def test_without_qemu_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, netduino: Board, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"qemu-system-arm is not on PATH; .* --port virtual"):
        QemuBoard(netduino, tmp_path / "firmware.elf")
