"""Programs that tinyodl starts and waits for: they end when it does, with all that they started.

Each runs in a process group of its own, where the system has such: a build tool has started a
dozen compilers when Ctrl-C comes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyodl.interrupt import deferred

PATIENCE_SECONDS = 2.0  # to end by itself when asked to


@dataclass(frozen=True)
class Ended:
    """How a program ended. `lines` has its output, both streams in their order."""

    code: int
    lines: tuple[str, ...]


def run(
    command: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Ended:
    """Run a program to its end; `on_line` gets each line that it prints.

    Raises OSError if it cannot be started, and subprocess.TimeoutExpired after `timeout` seconds.
    Whatever is raised, by Ctrl-C too, the program has ended by then.
    """
    lines: list[str] = []
    process: subprocess.Popen[str] | None = None
    late = threading.Event()

    def give_up() -> None:
        late.set()
        if process is not None:
            _end(process, signal.SIGTERM)

    timer = threading.Timer(timeout, give_up)
    timer.daemon = True
    try:
        with deferred():  # or nobody would know of what has just been started
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if on_line:
                on_line(line.rstrip())
        code = process.wait()
    except BaseException:
        if process is not None:
            _end_all(process)
        raise
    finally:
        timer.cancel()
        if process is not None and process.stdout is not None:
            process.stdout.close()
    if late.is_set():
        raise subprocess.TimeoutExpired(list(command), timeout)
    return Ended(code, tuple(lines))


def _end_all(process: subprocess.Popen[str]) -> None:
    """End a program and all that it has started; first by asking."""
    _end(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_SECONDS)
    _end(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()


def _end(process: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            process.terminate()
        else:
            os.killpg(process.pid, number)
