"""A project's program, byte for byte as `tinyodl.pio.build` makes it, in less time.

PlatformIO is left out, and objects that other tests compiled are taken. That the bytes are the
same is tested in tests/ports/test_builds.py, for a board of each family and both compilers. On
this computer a network is optimised one time in eight, as tests/quick_c.py says. Tests about
building itself call `tinyodl.pio.build`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path

import ziglang

from tests.objects import compiled, run
from tests.quick_c import flags_for
from tinyodl.files import built_here
from tinyodl.pio import Build, find_arm_compiler, find_host_compiler, measure
from tinyodl.pio.zig_as_gcc import arguments
from tinyodl.project import manifest
from tinyodl.targets.boards import Board
from tinyodl.targets.firmware import C_FLAGS

_ZIG = str(Path(ziglang.__file__).with_name("zig"))
_FOLDERS = ("lib/port", "lib/net", "lib/device", "src")  # in the order in which PlatformIO links
_NET = "lib/net/net.c"


def build(project: Path, board: Board | None = None, optimised: bool | None = None) -> Build:
    """Build `project` for its board, as and where `tinyodl.pio.build` does. Raises ToolError.

    Networks for boards, and by Zig, are always optimised; others for this computer where
    `optimised` is true, or if it is None, where the digest of the network is one of an eighth.
    """
    board = board or manifest.board_of(manifest.load(project))
    elf = built_here.program_path(project, board)
    sources = built_here.sources_digest(project)
    elf.parent.mkdir(parents=True, exist_ok=True)
    make = _for_host if board.on_host else _for_board
    title = make(project, board, elf, optimised)
    built_here.remember_program(project, elf, sources)
    return measure(elf, title)


def _for_host(project: Path, _board: Board, elf: Path, optimised: bool | None) -> str:
    compiler = find_host_compiler()
    is_zig = len(compiler) > 1
    command = [_ZIG, "cc"] if is_zig else compiler
    of_net = flags_for((project / _NET).read_text("utf-8"), is_zig or optimised)
    includes = [f"-Ilib/{name}" for name in ("net", "device", "port")]
    sources = sorted(_sources(project))
    flags = [of_net if source == _NET else C_FLAGS for source in sources]
    objects = [
        _object([*command, *options, *includes], source, project)
        for source, options in zip(sources, flags, strict=True)
    ]
    run([*command, *C_FLAGS, *objects, "-o", str(elf.resolve())], project, os.environ)
    return "zig cc" if is_zig else Path(compiler[0]).name


def _for_board(project: Path, board: Board, elf: Path, _optimised: bool | None) -> str:
    compiler = find_arm_compiler()
    settings = ConfigParser()
    settings.read(project / "platformio.ini", "utf-8")
    section = settings[f"env:{board.name}"]
    cpu = ["-mthumb", f"-mcpu={board.target.cpu}"]
    flags = [*cpu, *shlex.split(section["build_flags"]), f"-DF_CPU={board.clock_hz}L"]
    command = _command(compiler.name, flags)
    objects = [_object(command, source, project) for source in _sources(project)]
    script = ["-T", section["board_build.ldscript"], "-Wl,--gc-sections,--relax"]
    script += [*cpu, *board.target.float_flags, "-nostartfiles", "-nostdlib"]
    script += ["-Wl,--entry=port_reset_handler", *objects, "-lgcc", "-o", str(elf.resolve())]
    run(_command(compiler.name, script), project, os.environ)
    return compiler.title


def _command(compiler: str, flags: Sequence[str]) -> list[str]:
    return [_ZIG, *arguments(list(flags))] if compiler == "zig" else ["arm-none-eabi-gcc", *flags]


def _sources(project: Path) -> list[str]:
    return [
        path.relative_to(project).as_posix()
        for folder in _FOLDERS
        for path in sorted((project / folder).glob("*.c"))
    ]


def _object(command: Sequence[str], source: str, project: Path) -> str:
    return str(compiled(command, source, project, os.environ))
