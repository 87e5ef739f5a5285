"""Lines between a client and the server on the bench: memory, with faults where a test wants them.

Time is the line's own: it passes only while a client waits in vain, so a lost byte costs no second.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from tests.device.bench import Server

Fault = Callable[[bytes], bytes]


class MemoryLine:
    """A `Transport` to a server. `to_board` and `to_host` see every stretch of bytes on its way."""

    name = "memory"

    def __init__(self, server: Server, to_board: Fault = bytes, to_host: Fault = bytes) -> None:
        self.server = server
        self.to_board = to_board
        self.to_host = to_host
        self.now = 0.0
        self.waiting = b""
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.waiting += self.to_host(self.server.exchange(self.to_board(data)))

    def read(self, timeout: float) -> bytes:
        if not self.waiting:
            self.now += timeout
        data, self.waiting = self.waiting, b""
        return data

    def close(self) -> None:
        pass

    def keep_time_for_clients(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("tinyodl.device.client.time", clock)


class Dropper:
    """Loses the bytes with these numbers, counted along the whole stream."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = set(numbers)
        self.seen = 0

    def __call__(self, data: bytes) -> bytes:
        kept = bytes(byte for at, byte in enumerate(data, self.seen) if at not in self.numbers)
        self.seen += len(data)
        return kept
