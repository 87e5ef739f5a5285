"""A client written from docs/protocol.md alone: it imports nothing of tinyodl.

Its frames, CRC-32 and COBS are its own, so that it is a second opinion on all three.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

HELLO, WRITE, READ, INFER, EVALUATE, TRAIN, FLUSH, PARAMETER_READ = range(1, 9)
PARAMETER_WRITE, LEARNING_RATE, STATISTICS, SAVE, RESTORE, RESET, REBOOT = range(9, 16)
PIECE = 16
OK, BAD_FRAME = 0, 1
INCOMPLETE = 7
LENGTH = 64  # of the pieces this client sends


def crc32(data: bytes) -> int:
    """Bit by bit, as in the definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def stuff(data: bytes) -> bytes:
    """COBS: each zero becomes the distance to the next one."""
    out = b""
    for group in data.split(b"\0"):
        while len(group) >= 254:
            out, group = out + b"\xff" + group[:254], group[254:]
        out += bytes((len(group) + 1,)) + group
    return out


def unstuff(data: bytes) -> bytes:
    out = b""
    while data:
        code, block, data = data[0], data[1 : data[0]], data[data[0] :]
        out += block + (b"\0" if code < 255 and data else b"")
    return out


def f32(value: float) -> float:
    """The float32 nearest to a number."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def quantized(values: list[float], scale: float, zero_point: int) -> bytes:
    """int8. A float64 quotient of float32 numbers rounds to their float32 quotient."""
    steps = (round(f32(f32(value) / f32(scale))) + zero_point for value in values)
    return struct.pack(f"<{len(values)}b", *(max(-128, min(127, q)) for q in steps))


class Refused(Exception):  # noqa: N818
    def __init__(self, status: int, detail: int) -> None:
        super().__init__(f"status {status}, detail {detail}")
        self.status, self.detail = status, detail


class SecondClient:
    """`send` sends bytes; `receive` returns what has come, b"" when nothing comes any more."""

    def __init__(self, send: Callable[[bytes], None], receive: Callable[[], bytes]) -> None:
        self.send, self.receive = send, receive
        self.sequence = 0x5EED
        self.received = b""
        hello = self.ask(HELLO, b"TODL" + struct.pack("<H", 2))
        assert hello[:4] == b"TODL"
        self.version, self.max_body = struct.unpack_from("<HH", hello, 4)
        self.model_id = hello[8:16]
        self.input_bytes, self.target_bytes, self.output_bytes = struct.unpack_from(
            "<III", hello, 24
        )
        self.steps, self.generation = struct.unpack_from("<II", hello, 48)
        self.board = hello[76:].decode("ascii")

    def ask(self, command: int, body: bytes = b"") -> bytes:
        self.sequence = (self.sequence + 1) % 65536
        frame = self.frame(struct.pack("<BBH", command, 0, self.sequence) + body)
        for _ in range(10):
            self.send(b"\0" + frame)
            if (reply := self.answer(command)) is not None:
                status, answer = reply
                if status == INCOMPLETE and command in (INFER, EVALUATE, TRAIN):
                    self.sequence -= 1
                if status != OK:
                    raise Refused(status, *struct.unpack("<I", answer[:4]))
                return answer
        raise TimeoutError

    def frame(self, message: bytes) -> bytes:
        return stuff(message + struct.pack("<I", crc32(message))) + b"\0"

    def answer(self, command: int) -> tuple[int, bytes] | None:
        while data := self.receive():
            self.received += data
            while b"\0" in self.received:
                frame, self.received = self.received.split(b"\0", 1)
                message = unstuff(frame)
                if len(message) < 8 or crc32(message[:-4]) != struct.unpack("<I", message[-4:])[0]:
                    continue
                code, status, sequence = struct.unpack_from("<BBH", message)
                if status == BAD_FRAME:
                    return None
                if (code, sequence) == (command | 0x80, self.sequence):
                    return status, message[4:-4]
        return None

    def write(self, buffer: int, values: list[float]) -> None:
        self.write_bytes(buffer, struct.pack(f"<{len(values)}f", *values))

    def write_bytes(self, buffer: int, data: bytes) -> None:
        piece = self.max_body - 8
        for at in range(0, len(data), piece):
            self.ask(WRITE, struct.pack("<B3xI", buffer, at) + data[at : at + piece])

    def write_by_rows(self, image: list[list[list[float]]]) -> None:
        """A sample that goes by rows, as `tinyodl.json` says; image[channel][row][column]."""
        rows = zip(*image, strict=True)
        self.write(0, [value for row in rows for channel in row for value in channel])

    def output(self) -> list[float]:
        data = self.ask(READ, struct.pack("<B3xII", 2, 0, self.output_bytes))
        return list(struct.unpack(f"<{self.output_bytes // 4}f", data))

    def step(self, command: int, values: list[float], label: int) -> tuple[float, ...]:
        """predicted, loss, cycles forward, backward, update, flags"""
        answer = self.on_pieces(command, struct.pack("<i", label), values)
        return struct.unpack("<ifIIII", answer)

    def output_of(self, values: list[float]) -> list[float]:
        """The output that comes with INFER."""
        answer = self.on_pieces(INFER, struct.pack("<H", self.output_bytes), values)
        return list(struct.unpack(f"<{self.output_bytes // 4}f", answer[8:]))

    def on_pieces(self, command: int, body: bytes, values: list[float]) -> bytes:
        """A step behind its sample; what is missing of that is sent again from there on."""
        data = struct.pack(f"<{len(values)}f", *values)
        start = 0
        while True:
            for at in range(start, len(data), LENGTH):
                number = (self.sequence + 1) % 256
                head = struct.pack("<BBH", PIECE, number, at // 4)
                self.send(self.frame(head + data[at : at + LENGTH]))
            try:
                return self.ask(command, body)
            except Refused as refused:
                if refused.status != INCOMPLETE:
                    raise
                start = refused.detail

    def parameter(self, index: int, count: int) -> list[float]:
        data = self.ask(PARAMETER_READ, struct.pack("<HHII", index, 0, 0, 4 * count))
        return list(struct.unpack(f"<{count}f", data))
