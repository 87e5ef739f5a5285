"""Lines between a client and the server on the bench: memory, with faults where a test wants them.

Time is the line's own: it passes only while a client waits in vain, so a lost byte costs no second.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Protocol

import pytest

from tests.device.bench import Server

Fault = Callable[[bytes], bytes]


class Timed(Protocol):
    """A line with a time of its own."""

    now: float


def keep_time(line: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients live in the time of the line from now on."""
    clock = SimpleNamespace(monotonic=lambda: line.now)
    monkeypatch.setattr("tinyodl.device.link.time", clock)


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
        keep_time(self, monkeypatch)


Exchange = Callable[[bytes], bytes]


class PacedLine:
    """A `Transport` whose bytes take time, in a time of its own: nothing waits, all is exact.

    `pace` is of either direction, in bytes a second. `latency` is what replies wait on top, as in a
    USB bridge that hands on bytes every 16 ms. `compute` is the board's time for a step. `exchange`
    answers a frame, or what is left of it.
    """

    name = "paced"

    def __init__(
        self,
        exchange: Exchange,
        *,
        pace: float,
        latency: float = 0.0,
        compute: float = 0.0,
        to_board: Fault = bytes,
        to_host: Fault = bytes,
    ) -> None:
        self.exchange = exchange
        self.pace = pace
        self.latency = latency
        self.compute = compute
        self.to_board = to_board
        self.to_host = to_host
        self.now = 0.0
        self._there = self._board = self._back = 0.0  # when each is free again
        self._arriving: list[tuple[float, bytes]] = []

    def write(self, data: bytes) -> None:
        self._there = max(self._there, self.now)
        for frame in data.split(b"\0")[:-1]:
            self._there += (len(frame) + 1) / self.pace
            replied = self.exchange(self.to_board(frame + b"\0"))
            if replied:
                self._board = max(self._board, self._there) + self.compute
                self._back = max(self._back, self._board) + len(replied) / self.pace
                self._arriving.append((self._back + self.latency, self.to_host(replied)))

    def read(self, timeout: float) -> bytes:
        due = self._arriving[0][0] if self._arriving else float("inf")
        if due > self.now + timeout:
            self.now += timeout
            return b""
        self.now = max(self.now, due)
        come = [data for at, data in self._arriving if at <= self.now]
        del self._arriving[: len(come)]
        return b"".join(come) or self.read(timeout)

    def close(self) -> None:
        pass


class Faults:
    """Damages each byte at a rate: `kind` is drop, duplicate, flip (a bit) or swap (with the last).

    `burst` more bytes follow each one that is damaged.
    """

    def __init__(self, kind: str, rate: float, seed: int, burst: int = 0) -> None:
        self.kind = kind
        self.rate = rate
        self.burst = burst
        self.random = random.Random(seed)
        self._left = 0

    def __call__(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if self._left > 0:
                self._left -= 1
            elif self.random.random() < self.rate:
                self._left = self.burst
            else:
                out.append(byte)
                continue
            if self.kind == "duplicate":
                out += bytes((byte, byte))
            elif self.kind == "flip":
                out.append(byte ^ 1 << self.random.randrange(8))
            elif self.kind == "swap":
                out.insert(max(len(out) - 1, 0), byte)
        return bytes(out)


KINDS = ("drop", "duplicate", "flip", "swap")
RATES = (0.0001, 0.001, 0.003, 0.01)


class Dropper:
    """Loses the bytes with these numbers, counted along the whole stream."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = set(numbers)
        self.seen = 0

    def __call__(self, data: bytes) -> bytes:
        kept = bytes(byte for at, byte in enumerate(data, self.seen) if at not in self.numbers)
        self.seen += len(data)
        return kept
