"""What the firmware must not do is reported with pc and function."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tests.virtual.conftest import Build
from tinyodl.errors import BoardError, UserError
from tinyodl.targets.boards import Board
from tinyodl.virtual.unicorn_board import UnicornBoard

# Command of firmware/faults.c, what the message says, the function that it names.
FAULTS = [
    ("u", "executes an undefined instruction", "undefined_instruction"),
    ("r", "reads 0x60000000, where nothing is", "reads_nothing"),
    ("w", "writes 0x60000000, where nothing is", "writes_nothing"),
    ("j", "jumps to 0x60000000, where nothing is", "jumps_into_nothing"),
    ("d", "which is not code", "jumps_into_data"),
    ("k", "jumps to 0x00001000, where the image has no code", "jumps_into_empty_flash"),
    ("p", "reads 0x40003000, where nothing is", "uses_unmodelled_peripheral"),
    ("q", "reads register 0x524 of GPIO, which is not modelled", "uses_unmodelled_register"),
    ("h", "accesses 16 bits of GPIO; its registers have 32", "uses_half_a_register"),
    ("s", "where nothing is", "overflows_the_stack"),
    ("v", "executes SVC", "calls_supervisor"),
    ("f", "programs flash at 0x00001000, which is outside of what it may write", "programs_itself"),
    ("t", "gives a DMA engine 0x00000100, which is outside of RAM", "sends_from_flash"),
]


@pytest.mark.parametrize(("command", "what", "function"), FAULTS, ids=[f[2] for f in FAULTS])
def test_a_fault_names_what_where_and_the_function(
    build: Build, nrf: Board, command: str, what: str, function: str
) -> None:
    with UnicornBoard(nrf, build("faults", nrf)) as virtual:
        virtual.write(command.encode())
        with pytest.raises(BoardError, match=r"the firmware .*; pc 0x[0-9a-f]{8} \(") as caught:
            virtual.read(5.0)
    assert what in str(caught.value)
    assert f"({function}" in str(caught.value)


def test_a_board_stays_dead_after_a_fault(build: Build, nrf: Board) -> None:
    with UnicornBoard(nrf, build("faults", nrf)) as virtual:
        virtual.write(b"u")
        for use in (
            lambda: virtual.read(1.0),
            lambda: virtual.read(1.0),
            lambda: virtual.write(b"e"),
        ):
            with pytest.raises(BoardError, match="undefined instruction"):
                use()


def test_a_reset_starts_the_firmware_again(build: Build, nrf: Board) -> None:
    with UnicornBoard(nrf, build("faults", nrf)) as virtual:
        executed = sum(count.instructions for count in virtual.counters().values())
        virtual.write(b"z")
        assert virtual.read(1.0) == b""
        virtual.write(b"e")
        assert virtual.read(1.0) == b"alive"
        assert sum(count.instructions for count in virtual.counters().values()) > executed


def test_an_endless_loop_ends_with_the_timeout(build: Build, nrf: Board) -> None:
    with UnicornBoard(nrf, build("faults", nrf)) as virtual:
        virtual.write(b"l")
        assert virtual.read(0.05) == b""
        with pytest.raises(BoardError, match=r"does not wait for input .*\(main\+"):
            virtual.run_until_idle(0.05)


def test_floats_before_the_fpu_is_on_are_a_fault(build: Build, nrf: Board) -> None:
    with pytest.raises(BoardError, match="FPU, which CPACR has not enabled"):
        UnicornBoard(nrf, build("loops", nrf, WITHOUT_FPU=1))


def test_an_image_for_another_board_is_refused(build: Build, nrf: Board, nucleo: Board) -> None:
    with pytest.raises(UserError, match=r"loads 0x8000000 .* built for another one"):
        UnicornBoard(nrf, build("loops", nucleo))


def test_a_closed_board_says_so(build: Build, nrf: Board) -> None:
    virtual = UnicornBoard(nrf, build("faults", nrf))
    virtual.close()
    virtual.close()
    with pytest.raises(BoardError, match="is closed"):
        virtual.read(1.0)


def test_ctrl_c_ends_a_read_and_harms_nothing(build: Build, netduino: Board) -> None:
    with UnicornBoard(netduino, build("interrupts", netduino)) as virtual:
        virtual.write(b"c" * 60)  # some 0.3 s of work
        answers = b""
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            while True:
                answers += virtual.read(5.0)
        assert len(answers) < 60 * 8
        while received := virtual.read(5.0):
            answers += received
    sums = [answers[at : at + 4] for at in range(0, len(answers), 8)]
    assert sums == sums[:1] * 60
