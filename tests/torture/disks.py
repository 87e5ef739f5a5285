"""Every output is written while the disk is full: from any call on, or beyond any size of a file.

What fails must say so, and leave what was there before: the old project, page, export, record.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.fakes import manifest, record, step
from tests.torture._two_projects import Files, held, left_behind, two_projects, write
from tinyodl.errors import TinyodlError
from tinyodl.frontend import export
from tinyodl.report import write_report
from tinyodl.runs import log as runlog
from tinyodl.runs.log import RunLog

WHAT = "the disk is full from any call on; what fails says so, and what was there before is there"

CALLS = {"a project": 400, "a page": 6, "an export": 6, "a run": 60}
FULL = {"mkdir": Path, "write_bytes": Path, "write": os, "fsync": os}


def trials(seed: int) -> Iterator[tuple[str, str | None]]:
    """Each output in turn, in each of the two ways."""
    chance = random.Random(seed)
    old, new = two_projects()
    ways = (_from_a_call_on, _beyond_a_size)
    for full, output in itertools.cycle(itertools.product(ways, CALLS)):
        old, new = new, old
        with tempfile.TemporaryDirectory() as folder:
            try_it = _project if output == "a project" else _run if output == "a run" else _file
            wrong = try_it(Path(folder), output, lambda: full(chance, output), old, new)  # noqa: B023
            yield f"{output}, the disk is full {full.__name__.strip('_').replace('_', ' ')}", wrong


def _project(folder: Path, output: str, full: Any, old: Files, new: Files) -> str | None:
    out = folder / "p"
    write(old, out)
    failed = _with(full, lambda: write(new, out))
    if failed not in (None, "UserError"):
        return f"ends with {failed}"
    if held(out) != (old if failed else new):
        return "neither the old project nor the new one"
    return f"left behind: {left}" if (left := left_behind(folder)) else None


def _file(folder: Path, output: str, full: Any, old: Files, new: Files) -> str | None:
    path = folder / "out"
    path.write_bytes(b"old")
    log = RunLog(folder / "run", record(), manifest())
    for number in range(50):
        log.step(step(number))
    log.close()
    runs = [runlog.read(folder / "run")]
    model = os.urandom(100_000)
    work = {
        "a page": lambda: write_report(runs, path),
        "an export": lambda: export._write_file(path, model),
    }[output]
    failed = _with(full, work)
    if failed not in (None, "TinyodlError", "UserError"):
        return f"ends with {failed}"
    if failed and path.read_bytes() != b"old":
        return "the old file is gone"
    if not failed and path.read_bytes() == b"old":
        return "nothing was written, and nothing was said"
    return f"left behind: {left}" if (left := left_behind(folder)) else None


def _run(folder: Path, output: str, full: Any, old: Files, new: Files) -> str | None:
    """A log may be cut off at any byte, and reads as a run that was."""
    done: list[int] = []

    def work() -> None:
        log = RunLog(folder / "run", record(status="running"), manifest())
        done.append(-1)
        for number in range(40):
            log.step(step(number))
            done.append(number)
            log.update(steps_before=number)
        log.close()

    failed = _with(full, work)
    if failed not in (None, "RunLogError"):
        return f"ends with {failed}"
    if done and len(runlog.read(folder / "run").steps) < len(done) - 1:
        return "a step that was logged is gone"
    return f"left behind: {left}" if (left := left_behind(folder)) else None


def _with(full: Callable[[], Any], work: Callable[[], object]) -> str | None:
    """Do it while the disk is full; the name of what it raises."""
    with full():
        try:
            work()
        except (TinyodlError, OSError) as error:
            return type(error).__name__
    return None


@contextlib.contextmanager
def _from_a_call_on(chance: random.Random, output: str) -> Iterator[None]:
    """Calls that need room fail from a random one of this output's on."""
    left = iter(range(chance.randrange(CALLS[output])))

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call

    with contextlib.ExitStack() as stack:
        for name, where in FULL.items():
            stack.enter_context(mock.patch.object(where, name, counted(getattr(where, name))))
        yield


@contextlib.contextmanager
def _beyond_a_size(chance: random.Random, output: str) -> Iterator[None]:
    """The system itself takes no more than so many bytes of any file."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (chance.randrange(1, 20_000), usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
