"""Requests and replies over a line that loses, damages and adds bytes: each is carried out once."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tinyodl.device import protocol
from tinyodl.device.codes import STEPS, Command, Status
from tinyodl.device.damage import Damage, RoundTrips
from tinyodl.device.framing import decode, encode, split
from tinyodl.device.protocol import Reply
from tinyodl.device.transport import Transport
from tinyodl.errors import BoardError, LineLostError
from tinyodl.targets.firmware import MAX_BODY

PATIENCE = 15.0  # seconds without any answer before the line counts as lost
HELLO_SECONDS = 6.0  # for a silent line: a board may reset when its port is opened
HELLO_PAUSE = 0.25  # between HELLOs
SLACK = 4  # bytes by which damage may lengthen a frame
AT_ONCE = 4  # times to repeat a request without waiting when a damaged frame comes
LONGEST_FRAME = 2 * MAX_BODY
FIRST_BYTES = 48  # of received bytes without a frame, for messages
TEXT_SHARE = 0.9  # the share of printable bytes in text, at least


class GaveUpError(Exception):
    """A request that may be replaced by a shorter one was damaged as often as was allowed."""


@dataclass
class Heard:
    """Counts of the traffic since the last answer."""

    sent: int = 0  # requests
    damaged_there: int = 0  # as the board says
    intact: int = 0
    damaged: int = 0
    strange: int = 0  # bytes that are no frame
    first: bytes = b""  # of them


class Link:
    """A session's frames. `sent` and `received` count its bytes so far.

    `patience` is how long nothing but damage and silence is endured, in seconds, beyond the time
    that a request itself may take.
    """

    def __init__(self, transport: Transport, sequence: int, patience: float) -> None:
        self.transport = transport
        self.patience = patience
        self.damage = Damage()
        self.sent = self.received = 0
        self._sequence = sequence
        self._certain = sequence  # the last number that the board is known to have used up
        self._pending = b""
        self._trips = RoundTrips()
        self._heard = Heard()
        # An emulated board has a line without faults: what is late there is not lost.
        self._loses_nothing: bool = getattr(transport, "loses_nothing", False)

    @property
    def next_number(self) -> int:
        """The number of the next request, and of the pieces sent for it."""
        return (self._sequence + 1) & 0xFFFF

    def write(self, data: bytes) -> None:
        """Sends frames that have no answer."""
        self.transport.write(data)
        self.sent += len(data)

    def begin(self) -> float:
        """From now on the patience counts, for `since` of `ask`."""
        self._heard = Heard()
        return self._now()

    def _now(self) -> float:
        """The time in seconds, without the waits of a transport for its line to come back."""
        away: float = getattr(self.transport, "away", 0.0)
        return time.monotonic() - away

    def hello(self) -> Reply:
        """Says HELLO until it is answered. Raises BoardError when that does not happen."""
        number = self._sequence = self.next_number
        self._certain = number
        start = self.begin()
        frame = encode(protocol.request(Command.HELLO, number, protocol.hello_body()))
        at_once = AT_ONCE
        while True:
            self._send(b"\0" + frame)
            reply, at_once = self._wait(
                Command.HELLO, number, HELLO_PAUSE, at_once, len(frame) + SLACK
            )
            if reply is not None:
                return reply
            seconds = self.patience if self._heard.strange else min(HELLO_SECONDS, self.patience)
            if time.monotonic() - start > seconds:
                raise BoardError(self._why(seconds, greeted=False))

    def ask(
        self,
        command: Command,
        body: bytes = b"",
        *,
        seconds: float,
        since: float | None = None,
        after: bytes = b"",
        tries: int | None = None,
    ) -> Reply:
        """The reply to a request, which is carried out once.

        `seconds` is what it may take. `after` are frames without an answer that are sent right
        behind it. Raises LineLostError when no answer has come for that and the patience, counted
        from `since` (by default now), and GaveUpError after `tries` repeats.
        """
        number = self.next_number
        self._sequence = number  # whatever happens from here on
        start = self.begin() if since is None else since
        end = start + self.patience + seconds
        wait = seconds if self._loses_nothing else self._trips.late(command, seconds)
        at_once, sent, ends = AT_ONCE, 0, b""
        while True:
            frame = encode(protocol.request(command, number, body))
            began = self._now()
            self._send(ends + frame + after)
            most = min(wait, max(0.0, end - began))
            reply, left = self._wait(command, number, most, at_once, len(frame) + SLACK)
            now = self._now()
            if reply is not None and reply.status is Status.SEQUENCE and self._skipped(reply):
                self._sequence = number = reply.detail  # requests before this one never arrived
                after, ends = b"", b""
                continue
            if reply is not None:
                self.damage.note(len(frame), damaged=False)
                if sent == 0:
                    self._trips.note(command, now - began)
                if reply.status is Status.INCOMPLETE and command in STEPS:
                    self._sequence = (number - 1) & 0xFFFF  # its number is not used up
                self._certain = self._sequence
                return reply
            sent += 1
            if now >= end:
                raise LineLostError(self._why(now - start, greeted=True))
            if tries is not None and sent >= tries:
                raise GaveUpError
            if left == at_once:  # late, not damaged
                if not self._loses_nothing:
                    self.damage.note(len(frame), damaged=True)
                wait = min(2 * wait, seconds)
                left = max(left, 1)
            at_once = left
            after, ends = b"", b"\0"  # the zero ends what is left of a frame without its own

    def _skipped(self, reply: Reply) -> bool:
        """Whether the board expects the number of a request that was given up."""
        expected = (reply.detail - self._certain) & 0xFFFF
        return 1 <= expected < (reply.sequence - self._certain) & 0xFFFF

    def _send(self, data: bytes) -> None:
        self._heard.sent += 1
        self.write(data)

    def _wait(
        self, command: Command, number: int, seconds: float, at_once: int, longest: int
    ) -> tuple[Reply | None, int]:
        """The reply to a request; None when it does not come in time.

        Replies to other requests are left-overs and dropped. While `at_once` lasts, one of it is
        spent on a damaged frame, there or back: then it is time to ask again. A frame there that
        is said to be longer than `longest` was not the request.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            arrived = self.transport.read(left)
            if not arrived:  # the time is over, or an emulated board waits for a request
                return None, at_once
            self.received += len(arrived)
            reply, damaged = self._take(arrived, command, number, longest)
            if reply is not None:
                return reply, at_once
            if damaged and at_once > 0:
                return None, at_once - 1
        return None, at_once

    def _take(
        self, arrived: bytes, command: Command, number: int, longest: int
    ) -> tuple[Reply | None, bool]:
        """The reply among what has arrived, and whether a frame was damaged."""
        heard, found, was_damaged = self._heard, None, False
        frames, pending = split(self._pending + arrived)
        self._pending = pending[:LONGEST_FRAME]  # longer is none
        strange = 0 if frames else len(arrived)  # else what is left of them
        for frame in frames:
            message = decode(frame)
            self.damage.note(len(frame), damaged=message is None)
            if message is None:
                heard.damaged += 1
                was_damaged = True
                strange += len(frame)
                continue
            reply = protocol.parse_reply(message)
            if reply is None:  # an echo of what was sent
                continue
            heard.intact += 1
            if reply.status is Status.BAD_FRAME:
                heard.damaged_there += 1
                was_damaged |= reply.detail <= longest
            elif (reply.command, reply.sequence) == (command, number):
                found = reply
        if strange:
            heard.strange += strange
            heard.first = (heard.first + arrived)[:FIRST_BYTES]
        return found, was_damaged

    def _why(self, seconds: float, *, greeted: bool) -> str:
        """A description of the fault of a line without an answer for so long."""
        heard, name = self._heard, self.transport.name
        if not heard.intact and not heard.strange:
            return (
                f"the board does not answer on {name}; is it powered, is this its port, and was "
                "it flashed with `tinyodl flash DIR`?"
            )
        strange = f"the first bytes that are no frame of tinyodl were {described(heard.first)}"
        if not heard.intact and not greeted:
            return (
                f"no answer on {name} for {seconds:.0f} s, but {heard.strange:,} bytes; {strange}"
            )
        return (
            f"no answer on {name} for {seconds:.0f} s: of {heard.sent} requests "
            f"{heard.damaged_there} arrived damaged, and so did {heard.damaged} of "
            f"{heard.intact + heard.damaged} frames from the board; is the cable loose or too "
            "long, or does another program use the line?"
            + (f" {strange[0].upper()}{strange[1:]}" if heard.strange and not heard.intact else "")
        )


def described(data: bytes) -> str:
    """Bytes for a message, in printable ASCII, and what they look like."""
    if not any(data):
        return "only zeros; is this the board's port?"
    printable = sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in data)
    if printable < TEXT_SHARE * len(data):
        return f"{data.hex(' ')}; this looks like noise: another baud rate, or another device"
    text = data.decode("ascii", "backslashreplace").encode("unicode_escape").decode("ascii")
    return f'"{text}"; this looks like another program\'s text: flash it with `tinyodl flash DIR`'
