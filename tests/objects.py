"""Objects that tests share: C that was compiled once in a run of the tests is not compiled again.

An object is found by a digest of the compiler, its options and the preprocessed source, and so by
the content of every file and macro that it is made from. The folder lasts for one run of the
tests, whose workers share it; what does not compile is not kept.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinyodl.errors import ToolError

_VARIABLE = "TINYODL_TESTS_OBJECTS"  # the folder, for the workers that this process starts

if _VARIABLE not in os.environ:
    os.environ[_VARIABLE] = tempfile.mkdtemp(prefix="tinyodl-objects-")
    atexit.register(shutil.rmtree, os.environ[_VARIABLE], ignore_errors=True)
_FOLDER = Path(os.environ[_VARIABLE])


def compiled(command: Sequence[str], source: str, folder: Path, env: Mapping[str, str]) -> Path:
    """The object of `source`, a path relative to `folder`, where the compiler runs.

    `command` is the compiler and its options, without -c and -o. Raises ToolError with what the
    compiler says.
    """
    text = run([*command, "-E", source], folder, env)
    digest = hashlib.sha256()
    rest = (option for option in command if not option.startswith(("-D", "-I")))
    for part in (*rest, source, text):  # what macros and folders come to is in the text
        digest.update(f"{len(part)}\0{part}".encode())
    made = _FOLDER / f"{digest.hexdigest()}.o"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=made.parent) as scratch:
            new = Path(scratch) / "new.o"
            run([*command, "-c", source, "-o", str(new)], folder, env)
            new.replace(made)
    return made


def run(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> str:
    """What a command says on stdout. Raises ToolError with what it says on stderr if it fails."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"{' '.join(command)}:\n{done.stderr}")
    return done.stdout
