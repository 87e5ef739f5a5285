"""Finding compilers: one for Cortex-M firmware, one for programs of this computer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from tinyodl.errors import ToolError, UserError

COMPILER_VARIABLE = "TINYODL_COMPILER"  # "gcc" or "zig": use that one, for boards and the host

GCC_REMEDY = "install it (Debian, Ubuntu: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi)"
ZIG_REMEDY = "pip install 'tinyodl[compiler]'"


@dataclass(frozen=True)
class ArmCompiler:
    """A compiler that takes arm-none-eabi-gcc's options. `command` is how to start it."""

    name: Literal["gcc", "zig"]
    command: tuple[str, ...]
    version: str

    @property
    def title(self) -> str:
        """What it is, for people."""
        product = "arm-none-eabi-gcc" if self.name == "gcc" else "zig cc"
        return f"{product} {self.version}"


def find_arm_compiler() -> ArmCompiler:
    """arm-none-eabi-gcc from PATH, else ziglang from PyPI; TINYODL_COMPILER picks one of them.

    Raises ToolError with the remedy when there is none, UserError for an unknown name.
    """
    wanted = _wanted()
    if wanted != "zig" and (found := _arm_gcc()):
        return found
    if wanted != "gcc" and (found := _zig()):
        return found
    if wanted == "gcc":
        raise ToolError(
            f"{COMPILER_VARIABLE}=gcc, but arm-none-eabi-gcc is not on PATH; {GCC_REMEDY}"
        )
    if wanted == "zig":
        raise ToolError(f"{COMPILER_VARIABLE}=zig, but ziglang is not installed; {ZIG_REMEDY}")
    raise ToolError(
        "no compiler for Cortex-M: neither arm-none-eabi-gcc on PATH nor ziglang in this Python; "
        f"{ZIG_REMEDY}, or {GCC_REMEDY}"
    )


def find_host_compiler() -> list[str]:
    """The start of a command that compiles C for this computer: cc, gcc, clang or `zig cc`.

    TINYODL_COMPILER=zig asks for the last. Raises ToolError with the remedy when there is none.
    """
    wanted = _wanted()
    if wanted != "zig":
        for name in ("cc", "gcc", "clang"):
            if path := shutil.which(name):
                return [path]
    if wanted != "gcc" and find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    asked = f" ({COMPILER_VARIABLE}={wanted})" if wanted else ""
    raise ToolError(
        f"no C compiler for this computer{asked}: neither cc, gcc or clang on PATH nor ziglang in "
        f"this Python; {ZIG_REMEDY}, or install gcc"
    )


def _wanted() -> str:
    wanted = os.environ.get(COMPILER_VARIABLE, "")
    if wanted not in ("", "gcc", "zig"):
        raise UserError(f"{COMPILER_VARIABLE}={wanted}: unknown compiler; say gcc or zig")
    return wanted


def _arm_gcc() -> ArmCompiler | None:
    path = shutil.which("arm-none-eabi-gcc")
    if path is None:
        return None
    try:
        answer = subprocess.run(
            [path, "-dumpversion"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(f"{path} does not run: {error}; {GCC_REMEDY}") from error
    return ArmCompiler("gcc", (path,), answer.stdout.strip())


def _zig() -> ArmCompiler | None:
    if find_spec("ziglang") is None:
        return None
    try:
        number = version("ziglang")
    except PackageNotFoundError:
        number = "of unknown version"
    script = Path(__file__).with_name("zig_as_gcc.py")
    return ArmCompiler("zig", (sys.executable, str(script)), number)
