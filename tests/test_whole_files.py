"""Files are whole or not there, and one process at a time has a project, a device, a folder."""

from __future__ import annotations

import errno
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tinyodl
from tests.projects import flat_model
from tinyodl.device.transport import SerialTransport, lock_device
from tinyodl.errors import InUseError, UserError
from tinyodl.files import project_files, whole_files
from tinyodl.files.file_lock import FileLock
from tinyodl.files.project_files import LOCK, lock_project
from tinyodl.files.whole_files import sweep, temporary_folder, write_whole

HOLD = """
import sys
from pathlib import Path
from tinyodl.files.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]), "it")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """The lock in another process, which is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# Whole files


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "old"])
def test_a_disk_that_is_full_at_any_call_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, there: bool
) -> None:
    path = tmp_path / "page.html"
    if there:
        path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    where = Path if call == "replace" else whole_files.os
    monkeypatch.setattr(where, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == (["page.html"] if there else [])
    assert not there or path.read_text() == "old"


def test_a_link_stays_one_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("old")
    (tmp_path / "page.html").chmod(0o640)
    (tmp_path / "link").symlink_to("page.html")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "page.html").read_text() == "new"
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_devices_are_written_to(tmp_path: Path) -> None:
    write_whole(Path("/dev/null"), "text")
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), "text")
    assert Path("/dev/full").is_char_device()


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    left, alive = tmp_path / ".tinyodl-left.part", tmp_path / ".tinyodl-alive.part"
    left.touch()
    (tmp_path / ".tinyodl-empty.part").mkdir()
    (tmp_path / "precious.part").touch()
    with held_by_another(alive), temporary_folder(tmp_path) as folder:
        whole_files._swept.clear()
        sweep(tmp_path)
        names = {p.name for p in tmp_path.iterdir()}
        assert names == {"precious.part", alive.name, folder.name}
    whole_files._swept.clear()
    sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"precious.part"}


WRITES = re.compile(
    r"\.write_(text|bytes)\(|\bopen\([^)]*[\"'][wax]b?[\"']|onnx\.save|(?<!numpy\.)savez?\w*\(\w*path"
)
PARTS = {  # of something that is renamed when it is whole, or that is no output
    "files/whole_files.py": "the function itself",
    "files/project_files.py": "the staging folder of a project",
    "pio/standins.py": "a temporary folder",
    "pio/standin_builder.py": "a step of the build",
    "frontend/quantize.py": "a temporary folder",
    "rehearsal/problem.py": "a temporary folder",
    "files/built_here.py": "a record read as a whole, and a program in a temporary folder",
    "host_run/library.py": "C that is compiled at once, and written anew each time",
    "runs/log.py": "the log, which grows by whole lines",
}


def test_every_output_is_written_by_the_one_function_that_writes_files_whole() -> None:
    package = Path(tinyodl.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(WRITES.search(line) for line in path.read_text().splitlines())
    }
    assert found <= PARTS.keys()


# Locks


def test_a_lock_says_who_has_it_and_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        held_by_another(path) as process,
        pytest.raises(InUseError, match=rf"p is in use by process {process.pid} \(-c .*since"),
    ):
        FileLock(path, "p")
    # The holder was killed.
    with FileLock(path, "p"), pytest.raises(InUseError, match="in use by this process"):
        FileLock(path, "p")
    assert not path.exists()


def test_a_fork_that_ends_leaves_the_lock_to_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path, "p") as lock:
        child = os.fork()
        if not child:
            lock.release()
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(InUseError, match=r"this process .*close the session"):
            FileLock(path, "p")


def test_of_many_that_want_a_lock_one_has_it_at_a_time(tmp_path: Path) -> None:
    """Each adds 1 to a number in a file, which would be lost if two did so together."""
    number = tmp_path / "number"
    number.write_text("0")
    script = (
        "import sys\nfrom pathlib import Path\nfrom tinyodl.files.file_lock import FileLock\n"
        "from tinyodl.errors import InUseError\ndone = 0\nwhile done < 100:\n"
        "    try:\n        lock = FileLock(Path(sys.argv[1]), 'it')\n"
        "    except InUseError:\n        continue\n"
        "    number = Path(sys.argv[2])\n    number.write_text(str(int(number.read_text()) + 1))\n"
        "    lock.release()\n    done += 1\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock"), str(number)]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert number.read_text() == "400"


def test_what_a_lock_says_is_on_one_line_and_not_long(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "lock"):
        said = '{"pid": 1, "command": "\\u001b[2J' + "x" * 500 + '", "since": "\\r\\n"}'
        (tmp_path / "lock").write_text(said)
        with pytest.raises(InUseError) as caught:
            FileLock(tmp_path / "lock", "p")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flat_model(tmp_path_factory.mktemp("model") / "flat.onnx")


def test_a_project_is_for_one_at_a_time_and_plans_and_reports_do_not_ask(
    flat: Path, tmp_path: Path
) -> None:
    project = tmp_path / "p"
    tinyodl.compile(flat, "host", project)
    tinyodl.flash(project)
    commands = {
        "compile": lambda: tinyodl.compile(flat, "host", project),
        "flash": lambda: tinyodl.flash(project),
        "a session": lambda: tinyodl.Session(project),
    }
    holders = {
        "a process": lambda: held_by_another(project / LOCK),
        "a session": lambda: tinyodl.Session(project),
    }
    for hold in holders.values():
        with hold():
            for command in commands.values():
                with pytest.raises(InUseError, match="p is in use by"):
                    command()
            tinyodl.plan(flat, "host")
            tinyodl.project.manifest.load(project)
    tinyodl.Session(project).close()
    assert not (project / LOCK).exists()


def test_a_session_that_is_forgotten_lets_go(flat: Path, tmp_path: Path) -> None:
    tinyodl.compile(flat, "host", tmp_path / "p")
    lock = lock_project(tmp_path / "p")
    del lock
    with FileLock(tmp_path / "p" / LOCK, "p"):
        pass


def test_a_compile_that_fails_leaves_no_folder(flat: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        tinyodl.compile(flat, "no such board", tmp_path / "new" / "p")
    assert not list(tmp_path.iterdir())


def test_a_project_that_may_only_be_read_is_read(
    flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tinyodl.compile(flat, "host", tmp_path / "p")

    def refused(*_: object) -> FileLock:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(project_files, "FileLock", refused)
    assert lock_project(tmp_path / "p") is None


def test_a_serial_device_is_for_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    controller, device = pty.openpty()
    port = os.ttyname(device)
    line = SerialTransport(port, 115200)
    try:
        with pytest.raises(InUseError, match=rf"{port} is in use by this process"):
            SerialTransport(port, 115200)
        # Another user's process has no lock of ours, and does not get the device either.
        monkeypatch.setattr("tinyodl.device.transport.lock_device", lambda port: None)
        with pytest.raises(InUseError, match=rf"{port} is in use by another program"):
            SerialTransport(port, 115200)
    finally:
        line.close()
        os.close(controller)
        os.close(device)
    lock = lock_device(port)
    assert lock is not None
    lock.release()
