"""One exchange with a board: a request, a step on a sample, or one piece of a long transfer."""

from __future__ import annotations

from collections.abc import Callable

from tinyodl.device.codes import Command, Status
from tinyodl.device.damage import LEAST_PIECE
from tinyodl.device.link import GaveUpError, Link
from tinyodl.device.pieces import RING_BYTES, Outgoing
from tinyodl.device.protocol import WRITE_OVERHEAD, Reply, parse_progress
from tinyodl.device.refusals import RefusedError
from tinyodl.targets.firmware import MAX_BODY

ANSWER_SECONDS = 2.0  # for a request that computes nothing; queues of USB bridges included
READ_FRAME = 32  # bytes of the frames of a request and its reply beside the data: of READ
WRITE_FRAME = 28  # and of PARAMETER_WRITE
TRANSFER_TRIES = 4  # before a shorter piece is tried
AHEAD_FAULTS = 0.05  # expected in a sample, from which on none is sent before its turn


class Exchanges:
    """Requests over a link. Each method raises LineLostError when the line brings no answer, and
    RefusedError for an answer other than OK.

    `in_order`: the board works on samples as they arrive.
    """

    def __init__(self, link: Link, in_order: bool) -> None:
        self.link = link
        self._in_order = in_order
        self._sample: Outgoing | None = None  # on its way for the next request

    def hello(self) -> bytes:
        """The body of the reply to HELLO, which may come from any version of the protocol."""
        self._sample = None
        return _body(Command.HELLO, self.link.hello())

    def request(self, command: Command, body: bytes, seconds: float = ANSWER_SECONDS) -> bytes:
        """The body of the reply to a request that is carried out once; not to a step.

        It makes the board drop the pieces of a sample that have come before it.
        """
        self._sample = None
        return _body(command, self.link.ask(command, body, seconds=seconds))

    # Samples

    def upload(self, data: bytes) -> None:
        """Sends the pieces of a sample, unless they were sent ahead."""
        if self._sample is not None and self._sample.data == data:
            return
        if self._sample is not None:
            self.request(Command.STATISTICS, b"")
        self._sample = self._outgoing(data, self.link.next_number)
        self.link.write(self._sample.send())

    def _outgoing(self, data: bytes, number: int) -> Outgoing:
        return Outgoing(data, number & 0xFFFF, self.link.damage, self._in_order)

    def step(
        self, command: Command, body: bytes, seconds: float, ahead: bytes | None = None
    ) -> bytes:
        """The body of the reply to a step on the sample that was uploaded.

        `ahead` is the next sample: on a good line its pieces travel while the board works on this
        one, as far as its receive ring takes them, and the rest as soon as it has answered.
        """
        link, sample, since = self.link, self._sample, self.link.begin()
        following = None
        if ahead is not None and sample is not None and not self._in_order:
            following = self._outgoing(ahead, link.next_number + 1)
        while True:
            after = b""
            if following is not None and link.damage.rate * len(following.data) < AHEAD_FAULTS:
                after = following.send(RING_BYTES)
            reply = link.ask(command, body, seconds=seconds, since=since, after=after)
            if reply.status is not Status.INCOMPLETE or sample is None:
                break
            if following is not None:
                following.forget()  # they were for a number that is not due yet
            if sample.told(parse_progress(reply.body)):
                since = link.begin()
            sample.number = link.next_number
            link.write(sample.send())
        self._sample = None
        if sample is not None and reply.status is Status.OK:
            sample.arrived()
            if following is not None:
                self._sample = following
                link.write(following.send())
        return _body(command, reply)

    # Long data

    def write(self, data: bytes, command: Command, body: Callable[[int, bytes], bytes]) -> None:
        """In pieces that the line takes; `body` makes a request from an offset and its bytes."""

        def send(offset: int, count: int) -> int:
            piece = data[offset : offset + count]
            self._transfer(command, body(offset, piece))
            return len(piece)

        self._in_pieces(len(data), WRITE_FRAME, MAX_BODY - WRITE_OVERHEAD, send)

    def read(
        self, size: int, command: Command, body: Callable[[int, int], bytes], start: bytes = b""
    ) -> bytes:
        """Reads in pieces that fit the line, after the bytes already there.

        `body` makes a request from an offset and a number of bytes.
        """
        data = bytearray(start)

        def fetch(offset: int, count: int) -> int:
            found = self._transfer(command, body(offset, count))
            data.extend(found)
            return len(found)

        self._in_pieces(size, READ_FRAME, MAX_BODY, fetch, len(start))
        return bytes(data)

    def readable(self, most: int) -> int:
        """Bytes that a reply is likely to bring through, at most `most`."""
        return self.link.damage.piece(READ_FRAME, most)

    def _in_pieces(
        self, size: int, overhead: int, most: int, move: Callable[[int, int], int], start: int = 0
    ) -> None:
        """Moves bytes from `start` to `size`: shorter pieces where those before were damaged."""
        at, longest = start, most
        self._since = self.link.begin()
        while at < size:
            count = min(self.link.damage.piece(overhead, most), longest, size - at)
            try:
                at += move(at, count)
            except GaveUpError:
                longest = max(LEAST_PIECE, count // 2)
            else:
                longest = most
                self._since = self.link.begin()

    def _transfer(self, command: Command, body: bytes) -> bytes:
        """A request that does no harm when it is carried out again with a shorter piece."""
        self._sample = None
        reply = self.link.ask(
            command, body, seconds=ANSWER_SECONDS, since=self._since, tries=TRANSFER_TRIES
        )
        return _body(command, reply)


def _body(command: Command, reply: Reply) -> bytes:
    if reply.status is not Status.OK:
        raise RefusedError(command, reply)
    return reply.body
