"""A sample on its way in pieces. Pieces have no answers: the step's reply names missing ones.

See "Pieces" in `docs/protocol.md`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinyodl.device.damage import Damage
from tinyodl.device.framing import encode
from tinyodl.device.protocol import PIECE_UNIT, Progress, piece
from tinyodl.targets.firmware import MAX_BODY, RECEIVE_RING

OVERHEAD = 10  # bytes of a piece's frame around the data: header, CRC, COBS and zero
ASKING = 29  # bytes of a step's request and its reply INCOMPLETE
PLACES = 32  # pieces a board remembers beyond the first gap
RING_BYTES = RECEIVE_RING - 64  # bytes a board can hold while it computes, with a request


class Outgoing:
    """A sample with its target, and how far it has come.

    `number` is its step's number. `in_order`: the board works on the sample as it arrives. Pieces
    after a gap are then lost, and no more may be on their way than the board's receive ring holds.
    """

    def __init__(self, data: bytes, number: int, damage: Damage, in_order: bool) -> None:
        self.data = data
        self.number = number
        self._damage = damage
        self._in_order = in_order
        self._length = self._best_length()  # of its pieces; the last may be shorter
        self._progress = Progress(0)
        self._sent: set[int] = set()  # offsets of the pieces on their way

    def send(self, most: int | None = None) -> bytes:
        """The frames of missing pieces; they count as on their way from now on.

        As many as the board has places for; `most` bounds their bytes if it computes meanwhile.
        """
        frames: list[bytes] = []
        if self._in_order:
            most = self._damage.piece(OVERHEAD + ASKING, RING_BYTES)
        left = len(self.data) + RECEIVE_RING if most is None else most
        for offset in self._missing():
            frame = encode(piece(self.number, offset, self._at(offset)))
            left -= len(frame)
            if left < 0 and not (self._in_order and not frames):
                break
            frames.append(frame)
            self._sent.add(offset)
        return b"".join(frames)

    def told(self, progress: Progress) -> bool:
        """Notes the pieces arrived at the board; whether there are more than before."""
        more = progress.count > self._progress.count
        self._progress = progress
        for offset in self._sent:
            self._note(offset, damaged=not self._is_there(offset))
        self._sent = set()
        if self._in_order or not more:
            self._length = min(self._length, self._best_length())
        return more

    def arrived(self) -> None:
        """Notes that the step had the whole sample."""
        for offset in self._sent:
            self._note(offset, damaged=False)

    def forget(self) -> None:
        """Notes that the board has dropped the sent pieces."""
        self._sent = set()

    def _missing(self) -> Iterator[int]:
        for place in range(PLACES + 1):
            offset = self._progress.bytes + place * self._length
            if offset < len(self.data) and offset not in self._sent and not self._is_there(offset):
                yield offset

    def _is_there(self, offset: int) -> bool:
        """Whether the board has confirmed this piece."""
        progress = self._progress
        beyond = offset - progress.bytes
        if beyond < 0:
            return True
        if not progress.beyond or beyond == 0 or beyond % progress.length:
            return False
        return bool(progress.beyond >> (beyond // progress.length - 1) & 1)

    def _at(self, offset: int) -> bytes:
        return self.data[offset : offset + self._length]

    def _note(self, offset: int, damaged: bool) -> None:
        self._damage.note(len(self._at(offset)) + OVERHEAD, damaged)

    def _best_length(self) -> int:
        """The length that suits the line, with the last piece about as long as the others."""
        overhead = OVERHEAD + ASKING if self._in_order else OVERHEAD
        longest = self._damage.piece(overhead, MAX_BODY)
        count = -(-len(self.data) // longest)
        return -(-len(self.data) // (count * PIECE_UNIT)) * PIECE_UNIT
