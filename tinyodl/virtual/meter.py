"""The native part of the virtual board: builds blockhook.c once per machine and talks to it.

A block hook in Python manages 10 million instructions per second, this one some hundreds.
"""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from platform import machine
from typing import TYPE_CHECKING

from tinyodl import children
from tinyodl.errors import ToolError
from tinyodl.files.folders import cache_directory
from tinyodl.files.whole_files import temporary_folder
from tinyodl.pio.compilers import find_host_compiler
from tinyodl.virtual.cycles import CodeTable

if TYPE_CHECKING:
    import unicorn

_SOURCE = Path(__file__).with_name("blockhook.c")
_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden")


_TOUCH_ARGUMENTS = (
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64),
    ctypes.c_void_p,
)


class _Table(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("sums", ctypes.c_void_p),
        ("ends", ctypes.c_void_p),
    )


class MeterState(ctypes.Structure):
    """`meter` of blockhook.c, field by field."""

    instructions: int
    cycles: int
    instructions_now: int
    cycles_now: int
    stop_at: int
    next: int
    size: int
    end: int
    pc: int
    stray: int
    strayed: int

    _fields_ = (
        ("instructions", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("instructions_now", ctypes.c_uint64),
        ("cycles_now", ctypes.c_uint64),
        ("stop_at", ctypes.c_uint64),
        ("tables", ctypes.c_void_p),
        ("table_count", ctypes.c_uint32),
        ("next", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("end", ctypes.c_uint32),
        ("pc", ctypes.c_uint32),
        ("stray", ctypes.c_uint32),
        ("strayed", ctypes.c_uint32),
        ("behind", ctypes.c_void_p),
        ("stop", ctypes.c_void_p),
        ("read_register", ctypes.c_void_p),
    )


class Meter:
    """The counters of one board, with the tables they count by."""

    def __init__(self, tables: Sequence[CodeTable], stop: int, read_register: int) -> None:
        """`stop` and `read_register` are the addresses of uc_emu_stop and uc_reg_read."""
        native = _load(_library())
        self.block: int = _address(native.meter_block)
        self.touch: int = _address(native.meter_touch)
        native.meter_touch.argtypes = _TOUCH_ARGUMENTS
        self._native = native
        self._arrays = tuple(tables)  # the native side points into them
        self._tables = (_Table * len(tables))(
            *(_Table(t.address, t.size, t.sums.ctypes.data, t.ends.ctypes.data) for t in tables)
        )
        self.state = MeterState(
            tables=ctypes.addressof(self._tables),
            table_count=len(tables),
            stop=stop,
            read_register=read_register,
        )

    @property
    def address(self) -> int:
        """The address of the state, for the native hooks."""
        return ctypes.addressof(self.state)

    def touch_now(self, engine: unicorn.Uc) -> None:
        """For callbacks that unicorn calls at an exact pc: finds the counts there."""
        self._native.meter_touch(engine._uch, 0, 0, 0, 0, self.address)

    def settle(self) -> None:
        """Between blocks everything that was counted has been executed."""
        self.state.instructions_now = self.state.instructions
        self.state.cycles_now = self.state.cycles


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address


def _load(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise ToolError(
            f"{library}, the virtual board's counter, cannot be loaded ({error}); delete it"
        ) from error


def _library() -> Path:
    """The compiled block hook, from the user's cache where it is there already."""
    source = _SOURCE.read_bytes()
    what = hashlib.sha256(source + " ".join((*_FLAGS, sys.platform, machine())).encode())
    library = cache_directory() / f"blockhook-{what.hexdigest()[:16]}.so"
    if not library.is_file():
        _compile(library)
    return library


def _compile(library: Path) -> None:
    command = find_host_compiler()
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(library.parent) as scratch:
            built = scratch / library.name
            run = children.run([*command, *_FLAGS, "-o", str(built), str(_SOURCE)], timeout=120)
            if run.code:
                said = "\n".join(run.lines).strip()
                raise ToolError(
                    f"{' '.join(command)} cannot build {_SOURCE.name}, the virtual board's "
                    f"counter:\n{said}"
                )
            built.replace(library)  # atomic: another process sees all of it or nothing
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(
            f"the virtual board's counter cannot be built in {library.parent} ({error}); "
            "set XDG_CACHE_HOME to a directory that you may write"
        ) from error
