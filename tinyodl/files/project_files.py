"""The files of a project change all together, and one process at a time may change or use them.

A new set of files is written to a folder in the project first. From the moment this folder is
renamed the project is the new one: its entries then move to their places one by one. If the moves
are cut off, the next process that opens the project goes on with them.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tinyodl.errors import InUseError, UserError
from tinyodl.files.file_lock import FileLock
from tinyodl.files.whole_files import sweep, sync_files, sync_folder

LOCK = ".tinyodl-lock"
STAGED = ".tinyodl-staged"  # not whole yet
READY = ".tinyodl-ready"  # whole: the project, as far as it is here
REPLACED = ".tinyodl-replaced"  # an old folder on its way out
OURS = (LOCK, STAGED, READY, REPLACED)
MOVING_SECONDS, MOVING_TRIES = 2.0, 100  # for a `compile` to move its files


def lock_project(project: Path) -> FileLock | None:
    """The lock on a project; with it, a `compile` that was cut off is finished.

    None for a project that may only be read: nothing in it can change. Raises InUseError while
    another has it, and UserError when a `compile` cannot be finished.
    """
    try:
        lock = FileLock(project / LOCK, str(project))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            _finish(project)
            return None
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None  # there is no project, as whoever reads it will say
        raise UserError(f"{project / LOCK}: {error.strerror}; remove it") from error
    try:
        _finish(project)
        sweep(project)
    except BaseException:
        lock.release()
        raise
    return lock


@contextlib.contextmanager
def locked_folder(out: Path) -> Iterator[None]:
    """The lock on a folder that is to become a project, made if it is not there.

    It goes away again where it stays empty. Raises UserError when it is something else or cannot
    be made, and InUseError while another has it.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a directory for the project with -o")
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK, str(out))
    except OSError as error:
        _remove_empty(made)
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    try:
        _finish(out)
        yield
    finally:
        lock.release()
        _remove_empty(made)


def finish_compile(project: Path) -> None:
    """Finish a `compile` that was cut off, if there is one. Raises like `lock_project`.

    One that is under way needs milliseconds from here on: it is waited for.
    """
    for left in reversed(range(MOVING_TRIES)):
        if not _is_ready(project):
            return
        try:
            lock = lock_project(project)
        except InUseError:
            if not left:
                raise
            time.sleep(MOVING_SECONDS / MOVING_TRIES)
        else:
            if lock is not None:
                lock.release()


def replace_files(files: Mapping[str, bytes], out: Path) -> None:
    """Make these the files of a project that is locked: all of them or none.

    Each top-level entry among them is replaced as a whole; other entries are left alone. Raises
    OSError where they cannot be written, and then only `STAGED` is to be removed; or where they
    cannot be moved, and then whoever opens the project next tries again.
    """
    staged = out / STAGED
    _remove(staged)
    for name, content in files.items():
        path = staged / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    sync_files(staged / name for name in files)
    for folder in sorted({(staged / name).parent for name in files}):
        sync_folder(folder)
    if (out / READY).is_symlink():
        (out / READY).unlink()
    staged.rename(out / READY)
    sync_folder(out)
    _move_into_place(out)


def _finish(project: Path) -> None:
    try:
        if _is_ready(project):
            _move_into_place(project)
    except OSError as error:
        raise UserError(
            f"{project}: its files are of two compiles, because the last one was cut off, and "
            f"cannot be moved to their places ({error.strerror}); compile again"
        ) from error
    with contextlib.suppress(OSError):
        for name in (STAGED, REPLACED):
            _remove(project / name)


def _is_ready(project: Path) -> bool:
    """Whether a whole new project waits for its place; a link to somewhere else is none."""
    return (project / READY).is_dir() and not (project / READY).is_symlink()


def _move_into_place(out: Path) -> None:
    ready, replaced = out / READY, out / REPLACED
    for entry in sorted(ready.iterdir()):
        target = out / entry.name
        if target.is_dir() or (entry.is_dir() and (target.exists() or target.is_symlink())):
            _remove(replaced)
            target.replace(replaced)
        entry.replace(target)
    sync_folder(out)
    ready.rmdir()
    _remove(replaced)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _remove_empty(folders: list[Path]) -> None:
    """The folders made here that are still empty, the innermost first."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
