"""What virtual boards count: instructions exactly, cycles by the model."""

from __future__ import annotations

import struct

import pytest

from tests.conftest import require_tool
from tests.virtual.conftest import Build, symbol
from tinyodl.errors import BoardError
from tinyodl.targets.boards import Board, load_board
from tinyodl.virtual.counts import PHASES
from tinyodl.virtual.qemu import QemuBoard
from tinyodl.virtual.unicorn_board import UnicornBoard

BOARDS = ("nrf52840_dk", "nano33ble", "netduinoplus2", "nucleo_f446re")

# A phase begins with the instruction that sets the pins and ends before the one that sets them
# again. The loops are those of firmware/loops.c.
FORWARD = 1 + 1 + 1000 * 3
BACKWARD = 1 + 4 + 2 + 5 + 1
UPDATE = 1 + 1 + 9 + 1


@pytest.mark.parametrize("name", BOARDS)
def test_instructions_equal_a_count_by_hand(build: Build, name: str) -> None:
    board = load_board(name)
    with UnicornBoard(board, build("loops", board)) as virtual:
        counts = virtual.counters()
    assert [counts[phase].instructions for phase in PHASES[1:]] == [FORWARD, BACKWARD, UPDATE]


def test_cycles_follow_the_reference_manual(build: Build, nrf: Board) -> None:
    with UnicornBoard(nrf, build("loops", nrf)) as virtual:
        counts = virtual.counters()
    taken = 999  # the loop's branch, except the last time
    assert counts["forward"].cycles == 1 + 1 + 1000 * 3 + taken
    # str; vmov; vcvt + 1 for its result, vdiv 14 + 1, vmul; bl 1 + 1; cmp, ite, 2 moves;
    # bx 1 + 2; b 1 + 1; tbb 1 + 2
    assert counts["backward"].cycles == 1 + 1 + 1 + 15 + 2 + 2 + 4 + 3 + 2 + 3


def test_the_cycle_counter_is_exact_inside_a_block(build: Build, nrf: Board) -> None:
    elf = build("loops", nrf)
    with UnicornBoard(nrf, elf) as virtual:
        first, second = struct.unpack("<2I", virtual.peek(symbol(elf, "cycles"), 8))
    assert second - first == 2 + 9  # the first load and nine additions


def test_code_in_ram_is_counted_too(build: Build, nrf: Board) -> None:
    with UnicornBoard(nrf, build("loops", nrf, IN_RAM=1)) as virtual:
        counts = virtual.counters()
    assert [counts[phase].instructions for phase in PHASES[1:]] == [FORWARD, BACKWARD, UPDATE]


def test_a_fault_in_the_middle_of_a_block_is_counted_exactly(build: Build, nrf: Board) -> None:
    virtual = UnicornBoard(nrf, build("faults", nrf))
    virtual.write(b"m")
    with pytest.raises(BoardError):
        virtual.read(1.0)
    assert virtual.counters()["forward"].instructions == 3  # the pins and two additions
    virtual.close()


def test_the_same_input_gives_the_same_counts(build: Build, nrf: Board) -> None:
    seen = []
    for _ in range(2):
        with UnicornBoard(nrf, build("faults", nrf)) as virtual:
            for _ in range(20):
                virtual.write(b"eee")
                assert virtual.read(1.0) == b"alive" * 3
            seen.append((virtual.counters(), virtual.seconds()))
    assert seen[0] == seen[1]


def test_qemu_counts_the_same_instructions_and_computes_the_same_bits(
    build: Build, netduino: Board
) -> None:
    require_tool("qemu-system-arm")
    elf = build("work", netduino)
    with UnicornBoard(netduino, elf) as virtual:
        virtual.write(b"w")
        *_, digest = struct.unpack("<3I", virtual.read(5.0))
        instructions = virtual.counters()["forward"].instructions
    with QemuBoard(netduino, elf) as qemu:
        before, after, qemu_digest = struct.unpack("<3I", _ask(qemu, b"w", 12))
    assert instructions > 20_000
    assert instructions == after - before
    assert digest == qemu_digest


def _ask(board: QemuBoard, question: bytes, size: int) -> bytes:
    """QEMU drops bytes until the firmware has switched the UART on, so the question is repeated."""
    answer = b""
    for _ in range(50):
        board.write(question)
        answer += board.read(0.2)
        while 0 < len(answer) < size:
            answer += board.read(5.0)
        if answer:
            return answer[:size]
    raise AssertionError("QEMU does not answer")
