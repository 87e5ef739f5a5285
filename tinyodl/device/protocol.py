"""The layouts of messages and their bodies; see `docs/protocol.md`."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any

from tinyodl.device.codes import NO_FLAGS, Buffer, ClockSource, Command, Draw, Flag, State, Status
from tinyodl.errors import BoardError
from tinyodl.targets import firmware

VERSION = firmware.PROTOCOL
MAGIC = b"TODL"
FROM_DEVICE = 0x80

_HEADER = Struct("<BBH")
_PIECE = Struct("<BBH")
_HELLO = Struct("<4sHH8sIBBH12If")
_STATISTICS = Struct("<3Q10I")
_STEP = Struct("<ifIIII")
_ASKED = Struct("<iffII")
_RESTORED = Struct("<II")
_NUMBER = Struct("<I")
_RATE = Struct("<f")
_REPLAY = Struct("<HBx")
_REPLAYED = Struct("<IIfIIII")
_SETTING = Struct("<HH")
_WRITE = Struct("<B3xI")
_READ = Struct("<B3xII")
_PARAMETER_WRITE = Struct("<HHI")
_PARAMETER_READ = Struct("<HHII")

WRITE_OVERHEAD = 8  # bytes of a WRITE or PARAMETER_WRITE body in front of the data
INFER_OVERHEAD = 8  # and of the reply to INFER in front of the output
PIECE_UNIT = 4  # bytes in which a PIECE counts its offset


@dataclass(frozen=True)
class Reply:
    """A message from the device. `command` is the request's, 0 where that did not arrive."""

    command: int
    status: Status
    sequence: int
    body: bytes

    @property
    def detail(self) -> int:
        """The number that comes with a status other than OK."""
        return int.from_bytes(self.body[:4], "little")


@dataclass(frozen=True)
class Progress:
    """Which bytes of a sample have arrived in pieces.

    `bytes` without a gap; bit i of `beyond`: `length` bytes from bytes + (i + 1) * length on.
    """

    bytes: int
    beyond: int = 0
    length: int = 1

    @property
    def count(self) -> int:
        """Bytes in all."""
        return self.bytes + self.beyond.bit_count() * self.length


def parse_progress(body: bytes) -> Progress:
    """The state of a sample in pieces, as INCOMPLETE reports it."""
    beyond, length = int.from_bytes(body[4:8], "little"), int.from_bytes(body[8:10], "little")
    return Progress(int.from_bytes(body[:4], "little"), beyond if length else 0, length or 1)


def piece(number: int, offset: int, data: bytes) -> bytes:
    """The message of a piece of a sample, for the step with this number."""
    return _PIECE.pack(Command.PIECE, number & 0xFF, offset // PIECE_UNIT) + data


def infer_body(count: int) -> bytes:
    """INFER that is answered with the first `count` bytes of the output, too."""
    return count.to_bytes(2, "little")


def request(command: Command, sequence: int, body: bytes = b"") -> bytes:
    """The message of a request."""
    return _HEADER.pack(command, 0, sequence) + body


def parse_reply(message: bytes) -> Reply | None:
    """The reply in a message; None when it is not one."""
    if len(message) < _HEADER.size:
        return None
    command, status, sequence = _HEADER.unpack_from(message)
    if not command & FROM_DEVICE or status not in set(Status):
        return None
    return Reply(command & ~FROM_DEVICE, Status(status), sequence, message[_HEADER.size :])


def hello_body() -> bytes:
    """The magic and the version this host speaks."""
    return MAGIC + VERSION.to_bytes(2, "little")


def write_body(buffer: Buffer, offset: int, data: bytes) -> bytes:
    return _WRITE.pack(buffer, offset) + data


def read_body(buffer: Buffer, offset: int, count: int) -> bytes:
    return _READ.pack(buffer, offset, count)


def label_body(label: int) -> bytes:
    return label.to_bytes(4, "little", signed=True)


def parameter_write_body(index: int, offset: int, data: bytes) -> bytes:
    return _PARAMETER_WRITE.pack(index, 0, offset) + data


def parameter_read_body(index: int, offset: int, count: int) -> bytes:
    return _PARAMETER_READ.pack(index, 0, offset, count)


@dataclass(frozen=True)
class Hello:
    """Who the board is. Sizes in bytes; `clock_hz` is of the counter that counts cycles."""

    version: int
    max_body: int
    model_id: str  # 16 hex digits, as in the manifest
    clock_hz: int
    clock_source: ClockSource
    restored: bool  # the weights go back to a state from the store
    state: State
    parameters: int
    input_bytes: int
    target_bytes: int
    output_bytes: int
    classes: int
    state_bytes: int
    batch: int
    steps: int  # samples that the weights have learned from
    generation: int  # of the state in the store; 0 when it holds none
    slot_bytes: int
    slot_needed: int
    stack_reserved: int
    stack_used: int
    learning_rate: float
    board: str


@dataclass(frozen=True)
class StepReply:
    """A step: what the network said before it learned, and cycles of the counter per phase."""

    predicted: int
    loss: float
    cycles_forward: int
    cycles_backward: int
    cycles_update: int
    flags: Flag = NO_FLAGS


@dataclass(frozen=True)
class Asked:
    """The board's answer for a sample without a label."""

    predicted: int
    margin: float
    threshold: float  # from which on a margin is no question
    flags: Flag
    cycles_forward: int

    @property
    def wanted(self) -> bool:
        """Whether the label is worth sending."""
        return Flag.WANTED in self.flags


@dataclass(frozen=True)
class Replayed:
    """The result of REPLAY: samples, of `held` in the cache, their mean loss, cycles per phase.

    `flags` say what the guard then did.
    """

    samples: int
    held: int
    loss: float
    cycles_forward: int
    cycles_backward: int
    cycles_update: int
    flags: Flag


@dataclass(frozen=True)
class Statistics:
    """Cycles and counts since boot, except `steps`: what the weights have learned from."""

    cycles_forward: int
    cycles_backward: int
    cycles_update: int
    steps: int
    trained: int
    evaluated: int
    inferred: int
    frames: int
    bad_frames: int
    repeats: int
    refused: int
    stack_reserved: int
    stack_used: int


@dataclass(frozen=True)
class Saved:
    """A state in the store."""

    generation: int
    steps: int


def parse_version(body: bytes) -> int:
    """The device's protocol version, which lies at the same place in every version."""
    if body[: len(MAGIC)] != MAGIC or len(body) < len(MAGIC) + 2:
        raise BoardError("what answers does not speak tinyodl's protocol; is it another device?")
    return int.from_bytes(body[4:6], "little")


def parse_hello(body: bytes) -> Hello:
    fields = _unpack(_HELLO, body[: _HELLO.size])
    _magic, version, max_body, model_id, clock_hz, clock_source, restored, *rest = fields
    values: tuple[Any, ...] = (
        version,
        max_body,
        model_id.hex(),
        clock_hz,
        ClockSource(min(clock_source, ClockSource.HOST)),
        bool(restored & 1),
        State(restored & 6) if restored & 6 in set(State) else State.CHANGED,
        *rest,
        body[_HELLO.size :].decode("ascii", "replace"),
    )
    return Hello(*values)


def parse_step(body: bytes) -> StepReply:
    predicted, loss, forward, backward, update, flags = _unpack(_STEP, body)
    return StepReply(predicted, loss, forward, backward, update, Flag(flags))


def parse_asked(body: bytes) -> Asked:
    predicted, margin, threshold, flags, cycles = _unpack(_ASKED, body)
    return Asked(predicted, margin, threshold, Flag(flags), cycles)


def parse_flush_flags(body: bytes) -> Flag:
    """The act of the guard at the end of the stream; nothing if there is no guard."""
    return Flag(int.from_bytes(body[8:12], "little"))


def setting_body(index: int, value: float | None) -> bytes:
    return _SETTING.pack(index, 0) + (b"" if value is None else _RATE.pack(value))


def parse_statistics(body: bytes) -> Statistics:
    return Statistics(*_unpack(_STATISTICS, body))


def restore_body(again: bool) -> bytes:
    """RESTORE; `again`: the samples since that state come again."""
    return b"\x01" if again else b""


def steps_body(steps: int) -> bytes:
    return _NUMBER.pack(steps)


def parse_restored(body: bytes) -> Saved:
    return Saved(*_unpack(_RESTORED, body))


def parse_number(body: bytes) -> int:
    """The first u32: the generation after SAVE, the samples applied by FLUSH."""
    number: int = _unpack(_NUMBER, body[: _NUMBER.size])[0]
    return number


def replay_body(batches: int, order: Draw) -> bytes:
    return _REPLAY.pack(batches, order)


def parse_replayed(body: bytes) -> Replayed:
    samples, held, loss, forward, backward, update, flags = _unpack(_REPLAYED, body)
    return Replayed(samples, held, loss, forward, backward, update, Flag(flags))


def rate_body(rate: float) -> bytes:
    return _RATE.pack(rate)


def parse_rate(body: bytes) -> float:
    rate: float = _unpack(_RATE, body)[0]
    return rate


def _unpack(layout: Struct, body: bytes) -> tuple[Any, ...]:
    if len(body) != layout.size:
        raise BoardError(
            f"the board sent {len(body)} bytes where protocol {VERSION} has {layout.size}; "
            "flash it with `tinyodl flash DIR`"
        )
    return layout.unpack(body)
