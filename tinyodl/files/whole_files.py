"""Files that are written whole or not at all, also on a full disk and when the power goes.

Data is written to a temporary file beside the target; the file then takes the target's name. Its
writer holds a lock on it meanwhile. So an unlocked temporary file is left over from a killed
process, and the next process that writes there removes it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinyodl.files.file_lock import is_at, try_lock, unlock

_PREFIX, _SUFFIX = ".tinyodl-", ".part"
_LOCK = "lock"  # in a temporary folder
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_swept: set[Path] = set()  # once a process: another one's leftovers wait for the next start


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file: at any moment the old content or all of the new is there.

    Text is UTF-8. A link stays one, and a file keeps its permissions. What is no file, such as
    /dev/stdout, is written to as it is. Raises OSError, and then nothing has changed.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as device:
            device.write(data)
        return
    target = path.resolve() if path.is_symlink() else path
    file, draft = _create(target.parent)
    try:
        try:
            _write(file, data)
            if target.is_file():
                shutil.copymode(target, draft)
            if os.name == "nt":  # Windows renames no open file
                os.close(file)
                file = -1
            draft.replace(target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
    finally:
        if file >= 0:
            os.close(file)


def sync_files(paths: Iterable[Path]) -> None:
    """Flush files to the disk, several at a time: a disk does this as fast as for one."""

    def sync(path: Path) -> None:
        with path.open("r+b") as file:
            os.fsync(file.fileno())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sync, paths))


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if the system can."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder that goes away with everything in it; if we are killed, at the next start."""
    sweep(parent)
    while True:
        folder = _named(parent)
        folder.mkdir(mode=0o700)
        try:
            file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            continue  # swept before it was locked
        if try_lock(file) is not False:
            break
        os.close(file)
    try:
        yield folder
    finally:
        if os.name == "nt":
            unlock(file)
            os.close(file)
        shutil.rmtree(folder, ignore_errors=True)
        if os.name != "nt":
            os.close(file)


def sweep(folder: Path) -> None:
    """Remove files of killed writers from a folder. Once per process and folder."""
    if folder.absolute() in _swept:
        return
    _swept.add(folder.absolute())
    with contextlib.suppress(OSError):
        for path in list(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
            with contextlib.suppress(OSError):
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    if path.is_symlink():
        return
    if not path.is_dir():
        _with_lock(path, path.unlink)
    elif (path / _LOCK).exists():
        _with_lock(path / _LOCK, lambda: shutil.rmtree(path))
    else:
        path.rmdir()


def _with_lock(path: Path, remove: Callable[[], object]) -> None:
    file = os.open(path, os.O_RDWR | _NO_LINK)
    try:
        if try_lock(file):
            remove()
    finally:
        os.close(file)


def _create(folder: Path) -> tuple[int, Path]:
    """A new temporary file that we have locked."""
    sweep(folder)
    while True:
        draft = _named(folder)
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        if try_lock(file) is not False and is_at(file, draft):
            return file, draft
        os.close(file)  # swept before it was locked


def _named(folder: Path) -> Path:
    return folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
    os.fsync(file)
