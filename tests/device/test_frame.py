"""frame.c and crc32.c against zlib and the cobs package."""

from __future__ import annotations

import ctypes
from pathlib import Path
from zlib import crc32

import pytest
from cobs import cobs
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.device import bench
from tinyodl.device.framing import decode, encode, split
from tinyodl.targets.firmware import MAX_BODY

ROOM = 4  # FRAME_ROOM
HEADER = 4
# Runs of one byte make the blocks of 254 and the zeros that COBS is about.
runs = st.tuples(st.integers(0, 255), st.integers(1, 300)).map(lambda run: bytes([run[0]]) * run[1])
messages = st.lists(st.one_of(runs, st.binary(max_size=40)), max_size=12).map(b"".join)


@pytest.fixture(scope="module")
def c(library: Path) -> ctypes.CDLL:
    return bench.Server(library).c


@given(data=messages, start=st.integers(0, 2**32 - 1))
def test_the_crc_is_zlibs(c: ctypes.CDLL, data: bytes, start: int) -> None:
    assert c.crc32_update(ctypes.c_uint32(start), data, len(data)) & 0xFFFFFFFF == crc32(
        data, start
    )


@settings(max_examples=500)
@given(message=messages.map(lambda data: data[: HEADER + MAX_BODY]))
def test_the_device_encodes_as_the_cobs_package_does(c: ctypes.CDLL, message: bytes) -> None:
    frame = ctypes.create_string_buffer(ROOM + HEADER + MAX_BODY + 4)
    ctypes.memmove(ctypes.byref(frame, ROOM), message, len(message))
    count = c.frame_encode(frame, len(message))
    assert frame.raw[:count] == cobs.encode(message + crc32(message).to_bytes(4, "little")) + b"\0"


class _Receiver(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_uint32),
        ("left", ctypes.c_uint8),
        ("zero_due", ctypes.c_uint8),
        ("too_long", ctypes.c_uint8),
        ("message", ctypes.c_uint8 * (HEADER + MAX_BODY + 4)),
    )


def receive(c: ctypes.CDLL, stream: bytes) -> list[bytes | None]:
    """What frame_receive finds in a stream: messages, and None for bad frames."""
    receiver = _Receiver()
    found: list[bytes | None] = []
    for byte in stream:
        length = c.frame_receive(ctypes.byref(receiver), byte)
        if length > 0:
            found.append(bytes(receiver.message[:length]))
        elif length < 0:
            found.append(None)
    return found


@settings(max_examples=500)
@given(parts=st.lists(messages, max_size=3))
def test_the_device_decodes_what_this_side_encodes(c: ctypes.CDLL, parts: list[bytes]) -> None:
    stream = b"".join(encode(part) for part in parts)
    expected = [
        part if len(part) <= HEADER + MAX_BODY else None for part in parts if len(part) >= HEADER
    ]
    assert receive(c, stream) == expected


def test_a_good_frame_with_more_behind_it_is_bad(c: ctypes.CDLL) -> None:
    """Even where what fits into the buffer has the right CRC."""
    message = bytes(range(256)) * 2 + b"1234"
    assert len(message) == HEADER + MAX_BODY
    whole = message + crc32(message).to_bytes(4, "little")
    assert receive(c, cobs.encode(whole) + b"\0") == [message]
    assert receive(c, cobs.encode(whole + b"more") + b"\0") == [None]


@settings(max_examples=1000)
@given(stream=messages)
def test_both_sides_find_the_same_frames_in_anything(c: ctypes.CDLL, stream: bytes) -> None:
    good = [message for message in receive(c, stream) if message is not None]
    frames, _rest = split(stream)
    decoded = [decode(frame) for frame in frames]
    assert good == [m for m in decoded if m and HEADER <= len(m) <= HEADER + MAX_BODY]


@given(message=messages, at=st.integers(0), bits=st.integers(1, 255))
def test_a_damaged_frame_is_not_decoded(message: bytes, at: int, bits: int) -> None:
    damaged = bytearray(encode(message)[:-1])
    damaged[at % len(damaged)] ^= bits
    assert all(decode(frame) is None for frame in split(bytes(damaged) + b"\0")[0])


def test_an_empty_frame_and_a_rest_are_told_apart() -> None:
    assert split(b"\0\0ab\0\0c") == ([b"ab"], b"c")
