"""Bytes take time on the line, and the board's receiver is as patient as silicon's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.virtual.conftest import Build
from tinyodl.targets.boards import Board
from tinyodl.virtual.line import Line
from tinyodl.virtual.unicorn_board import UnicornBoard

PIECES = st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=9)), max_size=12)


@given(PIECES, st.lists(st.integers(0, 300), max_size=30))
def test_bytes_arrive_once_in_order_and_no_faster_than_the_line(
    pieces: list[tuple[int, bytes]], steps: list[int]
) -> None:
    line = Line(cycles_per_byte=10)
    now = 0
    sent = received = b""
    sends = iter(pieces)
    for step in steps:
        now += step
        for gap, data in sends:
            now += gap
            line.send(data, now)
            sent += data
            break
        received += line.arrived(now)
        assert 10 * len(received) <= now
        assert (line.next_arrival is None) == (len(received) == len(sent))
    received += line.arrived(now + 10 * (len(sent) + 1))
    assert received == sent


def test_a_byte_arrives_when_its_last_bit_has() -> None:
    line = Line(cycles_per_byte=10)
    line.send(b"abc", now=100)
    assert line.arrived(109) == b""
    assert line.arrived(110) == b"a"
    assert line.arrival_of(64) == 130
    assert line.arrived(1000) == b"bc"
    assert line.arrival_of(1) is None


def test_a_sleeping_board_takes_as_long_as_the_line(build: Build, nrf: Board) -> None:
    with UnicornBoard(nrf, build("faults", nrf)) as board:
        before = board.seconds()
        board.write(b"." * 1000)
        assert board.read(1.0) == b""
        assert 0.010 <= board.seconds() - before < 0.0105  # 1000 bytes at 1 Mbaud


def test_bytes_that_a_busy_firmware_does_not_read_overrun_each_other(
    build: Build, netduino: Board
) -> None:
    with UnicornBoard(netduino, build("overrun", netduino)) as board:
        board.write(b"s0123456789")
        assert board.read(1.0) == b"0+"
        board.write(b"s0")
        assert board.read(1.0) == b"0-"
