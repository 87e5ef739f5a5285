"""Locks on files: a lock ends with its process, however the process ends.

A lock is advisory: it keeps tinyodl apart from tinyodl. On POSIX it is `flock`, on Windows
`msvcrt.locking`; where there is neither, or the file system has no locks, nobody is kept apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import weakref
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tinyodl.errors import InUseError

_SHOWN = 120  # characters of what a lock says of its holder
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # a locked byte cannot be read, and what is before it can

    def try_lock(file: int) -> bool | None:
        """Lock an open file: False if another has it, None where there are no locks."""
        os.lseek(file, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        with contextlib.suppress(OSError):
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    try:
        import fcntl
    except ImportError:
        fcntl = None  # type: ignore[assignment]

    def try_lock(file: int) -> bool | None:
        """Lock an open file: False if another has it, None where there are no locks."""
        if fcntl is None:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def unlock(file: int) -> None:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)


def is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one that has this name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat(follow_symlinks=False))
    except OSError:
        return False


class FileLock:
    """A lock file, which is there while the lock is held and says by whom."""

    def __init__(self, path: Path, subject: str) -> None:
        """Take the lock. `subject` is what is in use while it is held.

        Raises InUseError, naming the holder, if another has it, and OSError if the file cannot be
        made.
        """
        while True:
            flags = os.O_RDWR | os.O_CREAT | _BINARY | _NO_LINK
            file = os.open(path, flags, 0o666)
            try:
                if try_lock(file) is False:
                    raise InUseError(f"{subject} is in use by {_holder(file)}")
                if is_at(file, path):
                    os.ftruncate(file, 0)
                    os.write(file, _myself())
                    break
            except BaseException:
                os.close(file)
                raise
            os.close(file)  # its holder has just ended, and took the file away
        self.release = weakref.finalize(self, _release, file, path, os.getpid())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _release(file: int, path: Path, owner: int) -> None:
    if os.getpid() != owner:  # a fork, which has the same lock as its parent, and leaves it there
        os.close(file)
        return
    with contextlib.suppress(OSError):  # Windows keeps files that are open
        if is_at(file, path):
            path.unlink()
    unlock(file)
    os.close(file)


def _myself() -> bytes:
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    command = " ".join([program, *sys.argv[1:]])
    since = datetime.now().astimezone().isoformat(" ", timespec="seconds")
    return json.dumps({"pid": os.getpid(), "command": command, "since": since}).encode()


def _holder(file: int) -> str:
    """Who has locked an open file, as it says, and what to do."""
    try:
        os.lseek(file, 0, os.SEEK_SET)
        said = json.loads(os.read(file, 65536))
        pid, command, since = int(said["pid"]), str(said["command"]), str(said["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another process; wait for it to end"
    remedy = "wait for it to end"
    who = f"process {pid}"
    if pid == os.getpid():
        who, remedy = "this process", "close the session that has it"
    return f"{who} ({_shown(command)}, since {_shown(since)}); {remedy}"


def _shown(text: str) -> str:
    """On one line, and no longer than that: another user's process may have written it."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."
