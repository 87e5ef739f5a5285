"""Exception entry and return, with floating-point state, on unicorn and on QEMU alike."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from tests.conftest import require_tool
from tests.virtual.conftest import Build
from tinyodl.device.transport import Transport
from tinyodl.targets.boards import Board
from tinyodl.virtual.qemu import QemuBoard
from tinyodl.virtual.unicorn_board import UnicornBoard


@pytest.fixture(params=["unicorn", "qemu"])
def board(request: pytest.FixtureRequest, build: Build, netduino: Board) -> Iterator[Transport]:
    """firmware/interrupts.c, running."""
    elf = build("interrupts", netduino)
    if request.param == "qemu":
        require_tool("qemu-system-arm")
        with QemuBoard(netduino, elf) as qemu:
            while not qemu.read(0.1):  # QEMU drops bytes until the UART is on
                qemu.write(b"?")
            while qemu.read(0.1):
                pass
            yield qemu
    else:
        with UnicornBoard(netduino, elf) as virtual:
            yield virtual


def ask(board: Transport, question: bytes, size: int) -> bytes:
    board.write(question)
    answer = b""
    while len(answer) < size:
        received = board.read(10.0)
        assert received, f"only {answer!r} came"
        answer += received
    assert len(answer) == size
    return answer


def test_floats_survive_interrupts(board: Transport) -> None:
    """The sum is the same however many handlers, which spoil all registers, came in between."""
    quiet, none = struct.unpack("<fI", ask(board, b"c", 8))
    busy, _ = struct.unpack("<fI", ask(board, b"c" + b"." * 60, 8))
    assert none == 0
    assert 0.1 < abs(quiet) < 10.0
    assert busy == quiet


def test_interrupts_come_while_the_core_computes(build: Build, netduino: Board) -> None:
    with UnicornBoard(netduino, build("interrupts", netduino)) as virtual:
        _, interrupts = struct.unpack("<fI", ask(virtual, b"c" + b"." * 60, 8))
    assert 20 <= interrupts <= 60  # the others came before it woke


def test_an_urgent_interrupt_nests_and_an_equal_one_waits_for_its_turn(board: Transport) -> None:
    assert ask(board, b"n", 6) == b"lhHLu."


def test_primask_and_basepri_hold_interrupts_back(board: Transport) -> None:
    assert ask(board, b"m", 8) == b"1hH23hH4"


def test_the_stack_is_as_before_even_if_it_was_not_aligned(board: Transport) -> None:
    assert ask(board, b"s", 4) == bytes(4)


def test_unicorn_and_qemu_compute_the_same_under_interrupts(build: Build, netduino: Board) -> None:
    require_tool("qemu-system-arm")
    elf = build("interrupts", netduino)
    sums = []
    with UnicornBoard(netduino, elf) as virtual, QemuBoard(netduino, elf) as qemu:
        while not qemu.read(0.1):
            qemu.write(b"?")
        while qemu.read(0.1):
            pass
        for board in (virtual, qemu):
            sums.append(ask(board, b"c" + b"." * 60, 8)[:4])
    assert sums[0] == sums[1]
