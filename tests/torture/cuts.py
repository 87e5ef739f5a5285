"""A process that writes is cut off at any call, or at any moment, by a kill or with the power.

What a cut leaves is opened as the next command would open it. It must be the old project or the new
one, and of any other output the old content or the new; nothing temporary may stay.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.torture._two_projects import Files, held, left_behind, two_projects, write
from tinyodl.files import whole_files
from tinyodl.files.project_files import lock_project
from tinyodl.files.whole_files import sweep, write_whole
from tinyodl.project import manifest

WHAT = "writing is cut off at any call or moment; a project or a file is the old or the new one"

CALLS = 190  # a few more than a project needs


def trials(seed: int) -> Iterator[tuple[str, str | None]]:
    """In turn: a kill at a call, a power cut at a call, kills at any moment of two kinds."""
    chance = random.Random(seed)
    old, new = two_projects()
    kinds = (
        lambda folder: _project(folder, old, new, chance, at_call=True, power=False),
        lambda folder: _project(folder, old, new, chance, at_call=True, power=True),
        lambda folder: _project(folder, old, new, chance, at_call=False, power=False),
        lambda folder: _file(folder, chance),
    )
    for number in itertools.count():
        old, new = new, old
        with tempfile.TemporaryDirectory() as folder:
            yield kinds[number % len(kinds)](Path(folder))


def _project(
    folder: Path, old: Files, new: Files, chance: random.Random, *, at_call: bool, power: bool
) -> tuple[str, str | None]:
    out, saved = folder / "p", b"what a board has saved"
    moment = _seconds(lambda: write(old, out)) * chance.random()
    (out / "flash.bin").write_bytes(saved)
    steps = chance.randrange(CALLS) if at_call else None
    torn = random.Random(chance.random()) if power else None

    def work() -> None:
        if steps is not None:
            _cut_at(steps, out, torn)
        write(new, out)

    failed = _cut_off(work, None if at_call else moment)
    what = "power cut at a call" if power else "kill at a call" if at_call else "kill at a moment"
    return f"compile over a project, {what}", failed or _neither(out, old, new, saved)


def _neither(out: Path, old: Files, new: Files, saved: bytes) -> str | None:
    """What is wrong with a project that was cut off, seen by the next command."""
    try:
        manifest.load(out)
        lock = lock_project(out)
        assert lock is not None
        lock.release()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    found = held(out)
    if found.pop("flash.bin", b"") != saved:
        return "what the board had saved is gone"
    if found not in (old, new):
        names = [n for n in {*found, *old, *new} if found.get(n) not in (old.get(n), new.get(n))]
        return f"a mixture of two projects; of neither: {names[:5]}"
    return f"left behind: {left}" if (left := left_behind(out.parent)) else None


def _file(folder: Path, chance: random.Random) -> tuple[str, str | None]:
    path, contents = folder / "page.html", [b"1" * 2_000_000, b"2" * 3_000_000]
    moment = _seconds(lambda: write_whole(path, contents[0])) * 3 * chance.random()

    def work() -> None:
        for content in itertools.cycle(contents):
            write_whole(path, content)

    failed = _cut_off(work, moment)
    whole_files._swept.clear()  # as in a new process
    sweep(folder)
    if not failed and path.read_bytes() not in contents:
        failed = "torn"
    left = left_behind(folder)
    wrong = failed or (f"left behind: {left}" if left else None)
    return "a page or export, kill at a moment", wrong


def _seconds(work: Callable[[], None]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _cut_off(work: Callable[[], None], after: float | None) -> str | None:
    """Do it in a process of its own, which is killed after so many seconds, if any.

    What is wrong if the work has failed by itself.
    """
    process = os.fork()
    if not process:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if after is not None:
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return "the writer has failed" if code == 1 else None


def _cut_at(steps: int, root: Path, torn: random.Random | None) -> None:
    """End this process at its nth call that changes a disk; with `torn`, as the power would.

    What was written below `root` and not synced has any length then.
    """
    left, written, one_at_a_time = iter(range(steps)), set[int](), threading.RLock()

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            with one_at_a_time:
                if next(left, None) is None:
                    if torn is not None:
                        _tear(root, written, torn)
                    os._exit(9)
                return function(*arguments, **options)

        return call

    write_bytes, fsync = Path.write_bytes, os.fsync

    def noted(path: Path, content: bytes) -> int:
        size = write_bytes(path, content)
        written.add(path.stat().st_ino)
        return size

    def synced(file: int) -> None:
        fsync(file)
        written.discard(os.fstat(file).st_ino)

    Path.write_bytes = counted(noted)  # type: ignore[method-assign, assignment]
    os.fsync = counted(synced)
    for name in ("mkdir", "replace", "rename", "unlink", "rmdir"):
        setattr(Path, name, counted(getattr(Path, name)))
    shutil.rmtree = counted(shutil.rmtree)  # type: ignore[assignment]


def _tear(root: Path, written: set[int], torn: random.Random) -> None:
    for path in root.rglob("*"):
        if path.stat().st_ino in written:
            os.truncate(path, torn.randrange(path.stat().st_size + 1))
