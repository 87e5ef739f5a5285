"""Lists the installed and the missing tools, and how to get them."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from tinyodl.errors import ToolError
from tinyodl.pio.compilers import GCC_REMEDY, ZIG_REMEDY, find_arm_compiler, find_host_compiler


@dataclass(frozen=True)
class Check:
    """One thing tinyodl can use. `found` is its version or path, "" if missing.

    `remedy` says how to get it; `needed` is False for what something else can stand in for.
    """

    name: str
    found: str
    remedy: str
    needed: bool = True


def doctor() -> list[Check]:
    """Look for everything; runs nothing that takes longer than asking a version."""
    return [
        _python(),
        _package("platformio", "pip install platformio"),
        _package("scons", "pip install scons"),
        _arm_compiler(),
        _program("arm-none-eabi-gcc", "-dumpversion", GCC_REMEDY, needed=False),
        _package("ziglang", ZIG_REMEDY, needed=False),
        _host_compiler(),
        _package("unicorn", "pip install 'tinyodl[virtual]'"),
        _package("capstone", "pip install 'tinyodl[virtual]'"),
        _program(
            "qemu-system-arm",
            "--version",
            "for --port qemu only (Debian, Ubuntu: apt install qemu-system-arm)",
            needed=False,
        ),
    ]


def _python() -> Check:
    found = platform.python_version() if sys.version_info >= (3, 11) else ""
    return Check("python", found, "install Python 3.11 or newer")


def _package(name: str, remedy: str, *, needed: bool = True) -> Check:
    try:
        return Check(name, version(name), remedy, needed)
    except PackageNotFoundError:
        return Check(name, "", remedy, needed)


def _program(name: str, ask: str, remedy: str, *, needed: bool) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(name, "", remedy, needed)
    try:
        answer = subprocess.run(
            [path, ask], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return Check(name, "", f"{path} does not run; {remedy}", needed)
    return Check(name, (answer.splitlines() or [path])[0], remedy, needed)


def _arm_compiler() -> Check:
    remedy = f"{ZIG_REMEDY}; or arm-none-eabi-gcc: {GCC_REMEDY}"
    try:
        return Check("compiler for boards", find_arm_compiler().title, remedy)
    except ToolError:
        return Check("compiler for boards", "", remedy)


def _host_compiler() -> Check:
    try:
        command = find_host_compiler()
    except ToolError:
        return Check("compiler for this computer", "", f"install gcc or clang, or {ZIG_REMEDY}")
    title = command[0] if len(command) == 1 else "zig cc"
    return Check("compiler for this computer", title, "", needed=False)
