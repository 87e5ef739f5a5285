"""Frames on the serial line: COBS(message + CRC-32) and a zero byte; see `docs/protocol.md`."""

from __future__ import annotations

from zlib import crc32

from cobs import cobs

CRC_BYTES = 4


def encode(message: bytes) -> bytes:
    """The frame that carries a message, its closing zero included."""
    crc = crc32(message).to_bytes(CRC_BYTES, "little")
    return bytes(cobs.encode(message + crc)) + b"\0"


def split(stream: bytes) -> tuple[list[bytes], bytes]:
    """The frames in a stretch of a stream, without their zeros, and the rest of the last one.

    Empty frames are left out: a sender may send extra zeros.
    """
    *frames, rest = stream.split(b"\0")
    return [frame for frame in frames if frame], rest


def decode(frame: bytes) -> bytes | None:
    """The message of a frame without its zero; None when it did not arrive as it was sent."""
    try:
        decoded = bytes(cobs.decode(frame))
    except cobs.DecodeError:
        return None
    message, crc = decoded[:-CRC_BYTES], decoded[-CRC_BYTES:]
    if len(crc) < CRC_BYTES or crc32(message) != int.from_bytes(crc, "little"):
        return None
    return message
