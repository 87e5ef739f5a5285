"""What carries bytes to and from a board: a serial line, or anything that looks like one."""

from __future__ import annotations

from typing import Protocol

import serial

from tinyodl.errors import BoardError, LineLostError


class Transport(Protocol):
    """A stream of bytes in both directions. `name` is how messages call it.

    One that has an attribute `loses_nothing` that is true has no faults: what is late is slow.
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
    """A serial device (`/dev/ttyACM0`, `COM3`) or a pyserial URL (`socket://host:port`)."""

    def __init__(self, port: str, baud: int) -> None:
        """Opens the line. Raises BoardError when it cannot."""
        self.name = port
        try:
            self._line = serial.serial_for_url(port, baudrate=baud)
        except (serial.SerialException, OSError, ValueError) as error:
            raise BoardError(
                f"{port} cannot be opened ({error}); is the board plugged in, and may you use it?"
            ) from error

    def write(self, data: bytes) -> None:
        try:
            self._line.write(data)
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from error

    def read(self, timeout: float) -> bytes:
        try:
            self._line.timeout = timeout
            first: bytes = self._line.read(1)
            return first + bytes(self._line.read(self._line.in_waiting)) if first else b""
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from error

    def close(self) -> None:
        self._line.close()

    def _gone(self, error: Exception) -> LineLostError:
        return LineLostError(f"{self.name}: the line is gone ({error}); plug the board in again")
