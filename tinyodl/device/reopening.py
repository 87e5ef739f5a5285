"""A line that comes back: a cable pulled and plugged in again, an emulator started anew."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from tinyodl.device.transport import Transport
from tinyodl.errors import BoardError, LineLostError, UserError

PATIENCE = 60.0  # seconds in which a lost line may come back
_PAUSE = 0.2  # seconds between attempts to open it


class ReopeningTransport:
    """A transport that is opened again when its line is lost, unless `patience` is 0.

    Nothing is lost: the client sends the same request again, and the board, if it did not restart,
    carries it out once. A restarted board says NO_HELLO. `reopened` counts, and the client's own
    patience does not run while the line is `away`. If the line does not come back in time, it
    raises the transport's error.
    """

    def __init__(self, transport: Transport, open_again: Callable[[], Transport]) -> None:
        self._transport = transport
        self._open_again = open_again
        self.patience = 0.0
        self.reopened = 0
        self.away = 0.0  # seconds without a line, so far

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def name(self) -> str:
        return self._transport.name

    def write(self, data: bytes) -> None:
        try:
            self._transport.write(data)
        except LineLostError as error:
            self._reopen(error)
            self._transport.write(data)

    def read(self, timeout: float) -> bytes:
        try:
            return self._transport.read(timeout)
        except LineLostError as error:
            self._reopen(error)
            return b""

    def close(self) -> None:
        self._transport.close()

    def _reopen(self, error: LineLostError) -> None:
        if not self.patience:
            raise error
        start = time.monotonic()
        try:
            self._open_until(start + self.patience, error)
        finally:
            self.away += time.monotonic() - start

    def _open_until(self, deadline: float, error: LineLostError) -> None:
        with contextlib.suppress(BoardError, OSError):
            self._transport.close()
        while True:
            try:
                self._transport = self._open_again()
            except (BoardError, UserError):  # not there yet
                if time.monotonic() > deadline:
                    raise LineLostError(
                        f"{error}; it did not come back within {self.patience:g} s"
                    ) from error
                time.sleep(_PAUSE)
            else:
                self.reopened += 1
                return
