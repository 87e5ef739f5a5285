"""How bad a line is, and what follows: the length of pieces, and when to ask again.

Too long pieces seldom arrive whole, too short ones are mostly overhead. With q faults per byte,
data in frames of n bytes and h bytes of overhead costs about (n + h) / n * exp(q * (n + h)) bytes
for each of its bytes. This is least for n * (n + h) = h / q.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, sqrt

MEMORY_BYTES = 65_536  # the memory of the line: about so many bytes back
CLEAN_BYTES = 2_048  # counted as arrived before the first: one fault says little
LEAST_PIECE = 16
RETRY_SECONDS = 1.0  # for a reply whose round trip was never measured
LEAST_SPREAD = 0.03  # seconds on top of the mean round trip: USB bridges and busy hosts


@dataclass
class Damage:
    """A running estimate of faults per byte, from arrived and lost frames."""

    _bytes: float = CLEAN_BYTES
    _faults: float = 0.0

    def note(self, length: int, damaged: bool) -> None:
        """A frame of `length` bytes arrived, whole or damaged (or not at all)."""
        kept = max(0.0, 1.0 - length / MEMORY_BYTES)
        self._bytes = self._bytes * kept + length
        self._faults = self._faults * kept + damaged

    @property
    def rate(self) -> float:
        """Faults per byte."""
        return self._faults / self._bytes

    def piece(self, overhead: int, most: int) -> int:
        """Bytes of data for one frame, at most `most`; `overhead` is what comes on top of them."""
        best = inf
        if self.rate > 0:
            best = sqrt(overhead / self.rate + overhead * overhead / 4) - overhead / 2
        return int(min(most, max(LEAST_PIECE, best)))


@dataclass
class RoundTrips:
    """When a reply is late: the mean time of its kind and four times its spread, as TCP does it.

    V. Jacobson, "Congestion avoidance and control", SIGCOMM 1988.
    """

    _known: dict[int, tuple[float, float]] = field(default_factory=dict)

    def note(self, kind: int, seconds: float) -> None:
        """A reply came after so long; only of requests that were sent once."""
        mean, spread = self._known.get(kind, (seconds, seconds / 2))
        spread += (abs(seconds - mean) - spread) / 4
        self._known[kind] = mean + (seconds - mean) / 8, spread

    def late(self, kind: int, most: float) -> float:
        """Seconds after which it is time to ask again; never more than `most`."""
        if kind not in self._known:
            return min(most, RETRY_SECONDS)
        mean, spread = self._known[kind]
        return min(most, mean + max(4 * spread, LEAST_SPREAD))
