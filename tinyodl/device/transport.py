"""Carries bytes to and from a board: over a serial line, or anything that looks like one."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any, Protocol

from tinyodl.errors import BoardError, InUseError, LineLostError
from tinyodl.files.file_lock import FileLock
from tinyodl.files.folders import state_directory

WRITE_SECONDS = 15.0  # for a line to take bytes: else a stalled one would hang the host


class Transport(Protocol):
    """A stream of bytes in both directions. `name` is how messages call it.

    With a true attribute `loses_nothing` it has no faults: late bytes are slow, not lost.
    """

    @property
    def name(self) -> str: ...

    def write(self, data: bytes) -> None:
        """Sends all of `data`. Raises LineLostError when the line is gone."""

    def read(self, timeout: float) -> bytes:
        """Waits at most `timeout` seconds for at least one byte; b"" when none came.

        Raises LineLostError when the line is gone.
        """

    def close(self) -> None:
        """Lets go of the line; closing twice is fine."""


class SerialTransport:
    """A serial device (`/dev/ttyACM0`, `COM3`) or a pyserial URL (`socket://host:port`).

    A device is this process's alone until it is closed.
    """

    def __init__(self, port: str, baud: int) -> None:
        """Opens the line. Raises InUseError while another has it, BoardError when it cannot."""

        import serial  # it needs fcntl here: without a serial line, nothing else does

        self.name = port
        self._failures = (serial.SerialException, OSError)
        self._lock = lock_device(port)
        try:
            self._line: Any = serial.serial_for_url(
                port, baudrate=baud, write_timeout=WRITE_SECONDS, exclusive=True
            )
        except (*self._failures, ValueError) as error:
            self._unlock()
            if getattr(error, "errno", None) in (errno.EAGAIN, errno.EBUSY):
                raise InUseError(
                    f"{port} is in use by another program; close it there, or wait for it to end"
                ) from error
            raise BoardError(
                f"{port} cannot be opened ({error}); is the board plugged in, and may you use it?"
            ) from error

    def write(self, data: bytes) -> None:
        try:
            self._line.write(data)
        except self._failures as error:
            raise self._gone(error) from error

    def read(self, timeout: float) -> bytes:
        try:
            self._line.timeout = timeout
            first: bytes = self._line.read(1)
            return first + bytes(self._line.read(self._line.in_waiting)) if first else b""
        except self._failures as error:
            raise self._gone(error) from error

    def close(self) -> None:
        try:
            self._line.close()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _gone(self, error: Exception) -> LineLostError:
        return LineLostError(f"{self.name}: the line is gone ({error}); plug the board in again")


def lock_device(port: str) -> FileLock | None:
    """The lock on a serial device among the user's processes, which says who has it.

    None for URLs, and where there is no folder to have it in: the device itself is opened for one
    program alone. Raises InUseError.
    """
    if "://" in port:
        return None
    device = os.path.realpath(port) if Path(port).exists() else port
    folder = state_directory() / "devices"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / re.sub(r"[^A-Za-z0-9.]", "_", device), port)
    except OSError:
        return None
