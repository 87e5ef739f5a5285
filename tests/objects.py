"""Compiled C that tests share: what was compiled once in a run of the tests is taken from there.

An object is found by a digest of the compiler, its options and the preprocessed source, a library
by one of the compiler, its options and all its files: so by the content of everything that it is
made from. The folder lasts for one run of the tests, whose workers share it. What does not compile
is not kept.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tinyodl.codegen.network import Network
from tinyodl.errors import ToolError
from tinyodl.resources import TEMPLATES

_VARIABLE = "TINYODL_TESTS_OBJECTS"  # the folder, for the workers that this process starts

if _VARIABLE not in os.environ:
    os.environ[_VARIABLE] = tempfile.mkdtemp(prefix="tinyodl-objects-")
    atexit.register(shutil.rmtree, os.environ[_VARIABLE], ignore_errors=True)
_FOLDER = Path(os.environ[_VARIABLE])
_numbers = itertools.count()

Compile = Callable[[Network, Path, Sequence[str], Sequence[str]], Path]


def compiled(command: Sequence[str], source: str, folder: Path, env: Mapping[str, str]) -> Path:
    """The object of `source`, a path relative to `folder`, where the compiler runs.

    `command` is the compiler and its options, without -c and -o. Raises ToolError with what the
    compiler says.
    """
    text = run([*command, "-E", source], folder, env)
    rest = (option for option in command if not option.startswith(("-D", "-I")))
    made = _FOLDER / f"{_digest([*rest, source, text])}.o"  # macros and folders are in the text
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=_FOLDER) as scratch:
            new = Path(scratch) / "new.o"
            run([*command, "-c", source, "-o", str(new)], folder, env)
            new.replace(made)
    return made


def library(made_from: Iterable[str], path: Path, build: Callable[[], object]) -> None:
    """Have a library at `path`: what `build` makes there, or made there from the same before.

    Each has a file of its own: a loader takes one that it has loaded already for the same library.
    """
    kept = _FOLDER / f"{_digest(made_from)}.so"
    if kept.exists():
        shutil.copyfile(kept, path)
        return
    build()
    with tempfile.TemporaryDirectory(dir=_FOLDER) as scratch:
        Path(shutil.copyfile(path, Path(scratch) / "new.so")).replace(kept)


def networks_once(compile_network: Compile) -> Compile:
    """`_compiled` of tinyodl.host_run.library, which takes what was compiled before."""
    driver = (TEMPLATES / "host_run" / "driver.c").read_text("utf-8")

    def compiled_network(
        network: Network, folder: Path, compiler: Sequence[str], flags: Sequence[str]
    ) -> Path:
        path = folder / f"net-shared-{os.getpid()}-{next(_numbers)}.so"
        files = (part for file in sorted(network.files.items()) for part in file)
        parts = [*compiler, "", *flags, "", *files, driver]
        for name, text in network.files.items():
            (folder / name).write_text(text, "utf-8")
        build = lambda: compile_network(network, folder, compiler, flags).rename(path)  # noqa: E731
        library(parts, path, build)
        return path

    return compiled_network


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}\0{part}".encode())
    return digest.hexdigest()


def run(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> str:
    """What a command says on stdout. Raises ToolError with what it says on stderr if it fails."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"{' '.join(command)}:\n{done.stderr}")
    return done.stdout
