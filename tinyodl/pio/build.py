"""Building and uploading a generated project.

PlatformIO builds a board's firmware: with the user's own installation if it is complete, else with
tinyodl's stand-ins (see `standins`). Nothing is downloaded. The host's
compiler builds the host's program directly.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyodl import children
from tinyodl.errors import ToolError
from tinyodl.files import built_here
from tinyodl.files.folders import cache_directory
from tinyodl.files.whole_files import temporary_folder
from tinyodl.pio.compilers import COMPILER_VARIABLE, find_arm_compiler, find_host_compiler
from tinyodl.pio.measure import Build, measure
from tinyodl.pio.standins import core_directory
from tinyodl.pio.uploaders import standin_upload
from tinyodl.targets.boards import Board
from tinyodl.targets.firmware import C_FLAGS

Progress = Callable[[str], None]

_TIMEOUT_S = 900
_SHOWN_LINES = 30


def build(project: Path, board: Board, *, progress: Progress | None = None) -> Build:
    """Build `project` for `board`; the ELF is `.pio/build/<board>/firmware.elf` in it.

    Building runs what the project says: its `platformio.ini` may name scripts. What was built is
    recorded as this user's (see `tinyodl.files.built_here`). `progress` is called with each line of
    the build's output. Raises ToolError with the compiler's message when the code does not compile,
    with the remedy when a tool is missing.
    """
    elf = built_here.program_path(project, board)
    built_here.require_inside(project, elf)
    sources = built_here.sources_digest(project)
    if board.on_host:
        made = _build_host(project, board, elf, progress)
    else:
        setup = _setup(project, board, ["buildprog"])
        _run_platformio(setup, project, board, ["buildprog"], None, progress)
        made = measure(elf, setup.compiler)
    built_here.remember_program(project, elf, sources)
    return made


def upload(
    project: Path, board: Board, port: str | None = None, *, progress: Progress | None = None
) -> None:
    """Write the firmware to a board, building it first if need be.

    `port` is the board's serial device; boot loaders with a port of their own are looked for.
    Raises ToolError when no uploader is found, or with its message when it fails.
    """
    if board.on_host:
        raise ToolError(f"{board.name} is this computer: there is nothing to upload to")
    setup = _setup(project, board, ["upload"])
    if setup.standins:
        command = standin_upload(project, board)
        setup.environment["TINYODL_UPLOAD"] = shlex.join(command).replace("$", "$$")
    if board.platformio.upload_usb_ids:
        port = None  # the serial link is not where the boot loader listens; PlatformIO finds that
    _run_platformio(setup, project, board, ["upload"], port, progress)


# PlatformIO


@dataclass(frozen=True)
class _Setup:
    """How to run PlatformIO: its environment, the compiler's name, stand-ins or the user's own."""

    environment: dict[str, str]
    compiler: str
    standins: bool


def _setup(project: Path, board: Board, targets: list[str]) -> _Setup:
    environment = {
        name: value
        for name, value in os.environ.items()
        # A directory set for another project must not move this one's firmware.
        if not (name.startswith("PLATFORMIO_") and name.endswith("_DIR"))
        or name == "PLATFORMIO_CORE_DIR"
    }
    environment |= {
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "PYTHONUNBUFFERED": "1",
    }
    if not os.environ.get(COMPILER_VARIABLE) and _user_has_all(
        project, board, targets, environment
    ):
        return _Setup(environment, "PlatformIO's toolchain-gccarmnoneeabi", standins=False)
    compiler = find_arm_compiler()
    environment |= _zig_caches()
    environment["PLATFORMIO_CORE_DIR"] = str(core_directory(board if board.own else None))
    environment["TINYODL_ARM_GCC"] = " ".join(f'"{part}"' for part in compiler.command)
    return _Setup(environment, compiler.title, standins=True)


def _zig_caches() -> dict[str, str]:
    """Keep what Zig compiles once (its run-time library) beside tinyodl's own cache."""
    cache = str(cache_directory() / "zig")
    names = ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")
    return {name: os.environ.get(name, cache) for name in names}


def _user_has_all(
    project: Path, board: Board, targets: list[str], environment: dict[str, str]
) -> bool:
    """Whether the user's PlatformIO can do this without a download."""
    core = Path(os.environ.get("PLATFORMIO_CORE_DIR") or Path.home() / ".platformio")
    if not any(core.glob(f"platforms/{board.platformio.platform}*/platform.json")):
        return False
    script = Path(__file__).with_name("probe.py")
    command = [sys.executable, str(script), str(project.resolve()), board.name, *targets]
    answer = _run(command, environment)
    found = [line for line in answer.lines if line.startswith('{"missing"')]
    return answer.code == 0 and bool(found) and not json.loads(found[-1])["missing"]


def _run_platformio(
    setup: _Setup,
    project: Path,
    board: Board,
    targets: list[str],
    port: str | None,
    progress: Progress | None,
) -> None:
    command = [sys.executable, "-m", "platformio", "run", "-d", str(project), "-e", board.name]
    command += ["--disable-auto-clean"]
    for target in targets:
        command += ["-t", target]
    if port:
        command += ["--upload-port", port]
    answer = _run(command, setup.environment, progress)
    if answer.code != 0:
        raise ToolError(
            f"PlatformIO could not {'upload to' if 'upload' in targets else 'build'} "
            f"{board.name} ({setup.compiler}):\n{_essence(answer.lines)}"
        )


def _run(
    command: list[str],
    environment: Mapping[str, str],
    progress: Progress | None = None,
    folder: Path | None = None,
) -> children.Ended:
    """Run a command to its end. Raises ToolError when that takes too long."""
    try:
        return children.run(
            command,
            timeout=_TIMEOUT_S,
            environment=environment,
            folder=folder,
            on_line=progress,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{command[0]} has not ended after {_TIMEOUT_S} s") from error


def _essence(lines: Sequence[str]) -> str:
    """The part of a failed build's output that says why: from the first error on."""
    said = [line for line in lines if line.strip()]
    for index, line in enumerate(said):
        if "error" in line.lower() or "undefined reference" in line:
            start = max(index - 1, 0)
            return "\n".join(said[start : start + _SHOWN_LINES])
    return "\n".join(said[-_SHOWN_LINES:])


# The host


def _build_host(project: Path, board: Board, elf: Path, progress: Progress | None) -> Build:
    compiler = find_host_compiler()
    sources = sorted(
        path.relative_to(project).as_posix()
        for folder in ("src", "lib/net", "lib/device", "lib/port")
        for path in (project / folder).glob("*.c")
    )
    elf.parent.mkdir(parents=True, exist_ok=True)
    title = Path(compiler[0]).name if len(compiler) == 1 else "zig cc"
    if progress:
        progress(f"Compiling {len(sources)} files with {title}")
    with temporary_folder(elf.parent) as scratch:
        new = scratch.resolve() / elf.name
        includes = [f"-Ilib/{name}" for name in ("net", "device", "port")]
        command = [*compiler, *C_FLAGS, *includes, *sources, "-o", str(new)]
        answer = _run(command, os.environ | _zig_caches(), None, project)
        if answer.code != 0:
            raise ToolError(f"{title} could not build {board.name}:\n{_essence(answer.lines)}")
        new.replace(elf)
    return measure(elf, title)
