"""The record of programs built here by this user, and of their sources.

A project may come from anybody, its built program with it, and a program of the board "host" can do
whatever its user may. So tinyodl runs only programs that `flash` has built here. The proof is a
record in the user's own folders: nothing in a project can prove it. The record is found by digests
of the sources and of the program, so a copy of a project is as good as the project.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from tinyodl.errors import ToolError, UserError
from tinyodl.files.folders import state_directory
from tinyodl.files.whole_files import temporary_folder
from tinyodl.targets.boards import Board

SOURCES = ("boards", "include", "lib", "platformio.ini", "src")
MOST_RECORDS = 10_000  # the least recently used go first


def program_path(project: Path, board: Board) -> Path:
    """Where a project's built program lies."""
    return project / ".pio" / "build" / board.name / "firmware.elf"


def sources_digest(project: Path) -> str:
    """SHA-256 of all that a program is built from: names, and bytes."""
    digest = hashlib.sha256()
    for name in SOURCES:
        for path in _files(project / name):
            try:
                content = str(path.readlink()).encode() if path.is_dir() else path.read_bytes()
            except OSError as error:
                raise UserError(f"{path}: {error.strerror}; compile the project again") from error
            entry = f"{path.relative_to(project).as_posix()}\0{len(content)}\0"
            digest.update(entry.encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()


def remember_sources(project: Path) -> None:
    """Record that the project's sources were compiled here, if the record can be written."""
    with contextlib.suppress(ToolError):
        _record(_name("sources", sources_digest(project)), project)


def remember_program(project: Path, program: Path, sources: str) -> None:
    """Record that a program was built here; `sources` is the digest from before building."""
    content = hashlib.sha256(program.read_bytes()).hexdigest()
    _record(_name("program", sources, content), project)
    _record(_name("sources", sources), project)
    _record(_name("folder", str(project.resolve())), project)


def require_known_sources(project: Path) -> None:
    """Raises UserError unless building the project runs only code known to this user.

    Its sources must be known. Remains of earlier builds are removed, unless they are of builds in
    this folder.
    """
    if not _is_recorded(_name("sources", sources_digest(project))):
        raise UserError(
            f"{project} was not compiled on this machine, or was changed since, and building it "
            f"runs what it says; if you trust it, `tinyodl flash {project}` first"
        )
    builds = project / ".pio"
    require_inside(project, builds)
    if builds.exists() and not _is_recorded(_name("folder", str(project.resolve()))):
        shutil.rmtree(builds)


def checked_program(project: Path, program: Path) -> bytes:
    """The bytes of a built program, which was built here from the project's sources.

    Raises UserError that says to run `tinyodl flash` if it was not.
    """
    require_inside(project, program)
    try:
        content = program.read_bytes()
    except OSError as error:
        raise UserError(f"{program}: {error.strerror}; run `tinyodl flash {project}`") from error
    digest = hashlib.sha256(content).hexdigest()
    if not _is_recorded(_name("program", sources_digest(project), digest)):
        raise UserError(
            f"{program} was not built on this machine from the project's sources as they are, so "
            f"it is not run; `tinyodl flash {project}` builds it (which runs what the project says)"
        )
    return content


@contextlib.contextmanager
def private_copy(content: bytes) -> Iterator[Path]:
    """A checked program in a file nobody else can change, while it is started."""
    folder = state_directory() / "running"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            program = stack.enter_context(temporary_folder(folder)) / "firmware.elf"
            program.write_bytes(content)
            program.chmod(stat.S_IRUSR | stat.S_IXUSR)
        except OSError as error:
            raise _no_state(error) from error
        yield program


def require_inside(project: Path, path: Path) -> None:
    """Raises UserError where a link in the project leads a file of it somewhere else."""
    if not path.resolve().is_relative_to(project.resolve()):
        raise UserError(f"{path} leads out of the project, to {path.resolve()}; remove that link")


def _files(path: Path) -> Iterator[Path]:
    """All files at or below a path, and links to folders, in one order."""
    if path.is_file():
        yield path
    elif path.is_dir():
        for folder, folders, names in os.walk(path):
            folders.sort()
            entries = (Path(folder) / name for name in sorted([*folders, *names]))
            yield from (e for e in entries if e.is_file() or (e.is_dir() and e.is_symlink()))


def _name(kind: str, *digests: str) -> str:
    return hashlib.sha256("\0".join((kind, *digests)).encode()).hexdigest()


def _records() -> Path:
    return state_directory() / "built"


def _record(name: str, project: Path) -> None:
    folder = _records()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / name).write_text(f"{project.resolve()}\n", encoding="utf-8", errors="replace")
        _forget_oldest(folder)
    except OSError as error:
        raise _no_state(error) from error


def _is_recorded(name: str) -> bool:
    path = _records() / name
    if not path.is_file():
        return False
    with contextlib.suppress(OSError):
        path.touch()
    return True


def _forget_oldest(folder: Path) -> None:
    records = list(folder.iterdir())
    if len(records) <= MOST_RECORDS:
        return
    with contextlib.suppress(OSError):
        by_age = sorted(records, key=lambda path: path.stat().st_mtime)
        for path in by_age[: len(records) - MOST_RECORDS]:
            path.unlink()


def _no_state(error: OSError) -> ToolError:
    return ToolError(
        f"{state_directory()}: what was built here cannot be kept in mind ({error.strerror}); "
        "set XDG_STATE_HOME to a folder that you may write"
    )
