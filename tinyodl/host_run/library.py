"""A generated network as a shared library of this computer: compiled, loaded, its memory."""

from __future__ import annotations

import _ctypes
import ctypes
import itertools
import os
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

from tinyodl.codegen.network import Network
from tinyodl.errors import DataError, ToolError
from tinyodl.graph import Array
from tinyodl.resources import TEMPLATES
from tinyodl.targets.firmware import C_FLAGS

_DRIVER = TEMPLATES / "host_run" / "driver.c"
_loaded = itertools.count()


def shared_library(
    network: Network, folder: Path | None, compiler: Sequence[str], flags: Sequence[str] = C_FLAGS
) -> ctypes.CDLL:
    """Compile `lib/net` with the driver, and load it: another library at each call.

    Without `folder` the files are in one of their own, which is gone when this returns. Raises
    ToolError.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        return _load(_compiled(network, folder, compiler, flags))
    with tempfile.TemporaryDirectory(prefix="tinyodl-", ignore_cleanup_errors=True) as made:
        return _load(_compiled(network, Path(made), compiler, flags))


def _compiled(
    network: Network, folder: Path, compiler: Sequence[str], flags: Sequence[str]
) -> Path:
    for name, text in {**network.files, _DRIVER.name: _DRIVER.read_text("utf-8")}.items():
        (folder / name).write_text(text, "utf-8")
    # A loader takes a path that it has loaded already for the same library.
    library = folder / f"net-{os.getpid()}-{next(_loaded)}.so"
    sources = [folder / name for name in ("net.c", "weights.c", _DRIVER.name)]
    command = [*compiler, *flags, "-fPIC", "-shared", "-o", str(library), *map(str, sources)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        raise ToolError(f"the C compiler {compiler[0]} does not start: {error}") from error
    except subprocess.CalledProcessError as error:
        raise ToolError(f"{compiler[0]} does not compile the network:\n{error.stderr}") from error
    return library


def _load(path: Path) -> ctypes.CDLL:
    """A library, which is unloaded when nobody has it any more."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolError(f"the compiled network cannot be loaded: {error}") from error
    for name in ("net_evaluate", "net_train", "net_learning_rate", "net_ask", "net_learn"):
        if hasattr(library, name):
            getattr(library, name).restype = ctypes.c_float
    if hasattr(library, "net_replay"):
        library.net_replay.restype = ctypes.c_float
    library.net_set_learning_rate.argtypes = [ctypes.c_float]
    for name in ("net_flush", "net_flags", "host_settle", "host_evaluate", "host_train"):
        getattr(library, name).restype = ctypes.c_uint32
    weakref.finalize(library, _unload, library._handle).atexit = False
    return library


def _unload(handle: int) -> None:
    close = getattr(_ctypes, "dlclose", None) or getattr(_ctypes, "FreeLibrary", None)
    if close is not None:
        close(handle)


class _Buffer(ctypes.Structure):
    """net_buffer of net.h."""

    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_uint32))


def read_buffer(library: ctypes.CDLL, table: str, index: int) -> bytes:
    """The bytes of one of the buffers in `table`: net_buffers, net_parameters or host_flash."""
    buffer = _buffer(library, table, index)
    return ctypes.string_at(buffer.data, buffer.bytes) if buffer.bytes else b""


def write_buffer(library: ctypes.CDLL, table: str, index: int, raw: bytes) -> None:
    """Replaces all bytes of a buffer. Raises DataError where it has more or fewer."""
    buffer = _buffer(library, table, index)
    if buffer.bytes != len(raw):
        raise DataError(f"{table}[{index}] has {buffer.bytes} bytes; given are {len(raw)}")
    if raw:
        ctypes.memmove(buffer.data, raw, len(raw))


def pointer(array: Array | None) -> ctypes.c_void_p:
    """The address of a contiguous array's elements; the array must live as long as it is used."""
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _buffer(library: ctypes.CDLL, table: str, index: int) -> _Buffer:
    return (_Buffer * (index + 1)).in_dll(library, table)[index]
