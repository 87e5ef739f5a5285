"""A signal ends a command at once: with its exit code, its children, and nothing half done."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinyodl
from tests.cli.conftest import COMMAND, started
from tests.projects import flat_model

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

# Each takes a second; one that hangs need not wait for the timeout of all tests.
pytestmark = pytest.mark.timeout(120)


def asleep(pid: int) -> bool:
    """Whether a process waits for something, on Linux."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


class Pipe:
    """A file that has no content yet: who reads it waits."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._writer = -1

    def wait_for_reader(self, process: subprocess.Popen[str]) -> None:
        """Return once the process has opened the file and sleeps in reading it.

        A signal between the two calls would be noticed by Python only after the reading, which
        never ends.
        """
        while self._writer < 0:
            assert process.poll() is None, process.communicate()
            with contextlib.suppress(OSError):  # until there is one
                self._writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.02)
        while sys.platform == "linux" and not asleep(process.pid):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)

    def close(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    (tmp_path / "run").mkdir()
    pipe = Pipe(tmp_path / "run" / "run.json")
    yield pipe
    pipe.close()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["compile", "plan", "report"])
def test_a_signal_while_reading_ends_the_command(
    pipe: Pipe, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    arguments: list[object] = [command, pipe.path]
    if command != "report":
        arguments += ["--board", "host"]
    if command == "compile":
        arguments += ["-o", tmp_path / "p"]
    with started(*COMMAND, *arguments) as process:
        pipe.wait_for_reader(process)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert out == "" and "Interrupted" in err and "Traceback" not in err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_compiler_too(tmp_path: Path, number: signal.Signals) -> None:
    project = tmp_path / "p"
    tinyodl.compile(flat_model(tmp_path / "flat.onnx"), "host", project)
    before = sorted(project.rglob("*"))
    alive, cc = tmp_path / "alive", tmp_path / "bin" / "cc"
    os.mkfifo(alive)
    cc.parent.mkdir()
    # A compiler with a child of its own, as gcc has; both hold `alive` open for writing.
    cc.write_text(f"#!/bin/sh\nexec 3>{alive}\necho up >&3\nsleep 1000 &\nwait\n")
    cc.chmod(0o755)
    path = f"{cc.parent}{os.pathsep}{os.environ['PATH']}"
    with (
        started(*COMMAND, "flash", project, PATH=path) as process,
        alive.open("rb") as compiler,
    ):
        assert compiler.readline() == b"up\n"
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == 128 + number, err
        assert compiler.read() == b""  # which comes when nobody is left who could write
    assert sorted(path for path in project.rglob("*") if ".pio" not in path.parts) == before
    assert not list((project / ".pio").rglob("firmware*"))


SESSION = """
import sys, tinyodl
from tinyodl.interrupt import ending
with ending(), tinyodl.Session(sys.argv[1]) as session:
    print(session._transport._process.pid, flush=True)
    open(sys.argv[2]).read()
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_host_program_too(
    watch_host: Path, pipe: Pipe, number: signal.Signals
) -> None:
    with started(sys.executable, "-c", SESSION, watch_host, pipe.path) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        pipe.wait_for_reader(process)
        process.send_signal(number)
        process.communicate()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not (watch_host / ".tinyodl-lock").exists()
