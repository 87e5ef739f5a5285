"""The serial line between host and board, with the time that bytes take."""

from __future__ import annotations


class Line:
    """Bytes from the host arrive one after the other at the line's rate, in the board's time.

    Bytes from the board take no time.
    """

    def __init__(self, cycles_per_byte: int) -> None:
        self.cycles_per_byte = cycles_per_byte
        self.next_arrival: int | None = None  # when the first waiting byte is complete
        self._to_board = bytearray()
        self._to_host = bytearray()

    def send(self, data: bytes, now: int) -> None:
        """The host sends at time `now`; what it sent before goes first."""
        self._to_board += data
        if self.next_arrival is None and data:
            self.next_arrival = now + self.cycles_per_byte

    def arrived(self, now: int) -> bytes:
        """Takes the bytes that are complete at time `now`."""
        if self.next_arrival is None or now < self.next_arrival:
            return b""
        count = min(1 + (now - self.next_arrival) // self.cycles_per_byte, len(self._to_board))
        data = bytes(self._to_board[:count])
        del self._to_board[:count]
        self.next_arrival = (
            self.next_arrival + count * self.cycles_per_byte if self._to_board else None
        )
        return data

    def arrival_of(self, count: int) -> int | None:
        """When the next `count` bytes, or as many as wait, are complete; None if none waits."""
        if self.next_arrival is None:
            return None
        return self.next_arrival + (min(count, len(self._to_board)) - 1) * self.cycles_per_byte

    def answer(self, data: bytes) -> None:
        """The board sends."""
        self._to_host += data

    @property
    def answered(self) -> int:
        """How many bytes wait for the host."""
        return len(self._to_host)

    def take_answer(self) -> bytes:
        data = bytes(self._to_host)
        self._to_host.clear()
        return data
