"""Images of both compilers boot, and every function of port.h does what it says.

The judges are two emulators: unicorn with tinyodl's own models of the chips' peripherals, and QEMU,
whose STM32F405 other people wrote. Neither is silicon.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

import pytest
from elftools.elf.elffile import ELFFile

from tests.conftest import require_tool
from tests.ports.conftest import Builder
from tests.ports.projects import keeping_board
from tinyodl.errors import BoardError
from tinyodl.targets import firmware
from tinyodl.targets.boards import load_board
from tinyodl.virtual.qemu import QemuBoard
from tinyodl.virtual.unicorn_board import UnicornBoard

COMPILERS = ("gcc", "zig")
NRF = ("nrf52840_dk", "nano33ble")
STM = ("netduinoplus2", "nucleo_f446re")
L4 = ("nucleo_l476rg", "nucleo_l4r5zi")
OK, RANGE, FAILED = 0, 2**32 - 1, 2**32 - 2  # PORT_STORE_...
SLOT_BYTES = 128 * 1024


class Wire(Protocol):
    def write(self, data: bytes) -> None: ...
    def read(self, timeout: float) -> bytes: ...
    def close(self) -> None: ...


class Echo:
    """The other end of echo.c."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def ask(self, command: str, *numbers: int, expect: int) -> bytes:
        """Send a command; the `expect` bytes of its answer."""
        return self.send(command.encode() + struct.pack(f"<{len(numbers)}I", *numbers), expect)

    def send(self, data: bytes, expect: int) -> bytes:
        self.wire.write(data)
        answer = b""
        while len(answer) < expect:  # pytest-timeout ends it where it does not
            answer += self.wire.read(0.5)
        assert len(answer) == expect
        return answer

    def numbers(self, command: str, *numbers: int, expect: int = 1) -> tuple[int, ...]:
        return struct.unpack(f"<{expect}I", self.ask(command, *numbers, expect=4 * expect))

    def number(self, command: str, *numbers: int) -> int:
        return self.numbers(command, *numbers)[0]


@pytest.fixture(
    params=[
        *(f"{board} {compiler} unicorn" for board in (*NRF, *STM, *L4) for compiler in COMPILERS),
        *(f"netduinoplus2 {compiler} qemu" for compiler in COMPILERS),
    ]
)
def running(request: pytest.FixtureRequest, echo: Builder) -> Iterator[tuple[str, str, Echo]]:
    """A board that runs echo.c: its name, its emulator, the line to it."""
    name, compiler, emulator = request.param.split()
    if emulator == "qemu":
        require_tool("qemu-system-arm")
    image = echo(name, compiler).elf
    board = keeping_board(name)
    wire = QemuBoard(board, image) if emulator == "qemu" else UnicornBoard(board, image)
    if emulator == "qemu":
        wait_until_it_answers(wire)
    yield name, emulator, Echo(wire)
    wire.close()


def wait_until_it_answers(wire: Wire) -> None:
    """QEMU drops what is sent before the firmware has enabled its USART."""
    for _ in range(100):
        wire.write(b"h")
        if wire.read(0.1):
            break
    while wire.read(0.2):
        pass


def test_every_function_of_the_port(running: tuple[str, str, Echo]) -> None:
    name, emulator, board = running
    check_greeting_from_flash(board)
    check_what_it_says_of_itself(name, emulator, board)
    check_long_messages(board)
    check_arithmetic(board)
    check_memory_functions(board)
    if emulator == "qemu":  # its flash is ROM
        assert board.number("w", 0, 0, 5) == FAILED
    else:
        check_flash(board, load_board(name).target.flash_unit, name not in L4)
    assert board.number("m", 2) == 0
    check_reboot(board)


def check_greeting_from_flash(board: Echo) -> None:
    """port_send takes constants too, which EasyDMA cannot reach."""
    assert board.ask("h", expect=16) == b"hello from flash"


def check_what_it_says_of_itself(name: str, emulator: str, board: Echo) -> None:
    first = board.numbers("i", expect=11)
    again = board.numbers("i", expect=11)
    cycles, hz, source, stack, used, store, *variables = first
    assert again[0] == cycles, "the same loop takes the same time"
    assert 2000 <= cycles <= 3100, "1000 rounds of two instructions"
    if emulator == "qemu":
        assert source == 1, "QEMU's DWT stands still, timer 2 takes over"
        assert hz == 16_000_000, "QEMU's RCC is never ready, so the port says 16 MHz"
    else:
        assert source == 0
        assert hz == load_board(name).clock_hz
    assert stack == firmware.STACK_BYTES
    assert 0 < used < stack
    assert store == SLOT_BYTES
    assert variables == [1, 2, 3, 4, 0]
    assert list(again[6:]) == [2, 3, 4, 5, 1]


def check_long_messages(board: Echo) -> None:
    for length in (1, 512, 600, 512):  # together they pass the end of the ring
        data = bytes((7 * i + length) % 256 for i in range(length))
        assert board.send(b"e" + struct.pack("<I", length) + data, length) == data


def check_arithmetic(board: Echo) -> None:
    product, root, low, high = board.numbers("d", 7, 3, expect=4)
    assert struct.unpack("<f", struct.pack("<I", product)) == (21.0,)
    assert root == 0x4092A476, "sqrtf(21) rounded to nearest"
    assert high << 32 | low == (7 << 32) // 3


@pytest.mark.parametrize("compiler", COMPILERS)
def test_memory_functions_at_every_alignment(echo: Builder, compiler: str) -> None:
    board = Echo(UnicornBoard(keeping_board("netduinoplus2"), echo("netduinoplus2", compiler).elf))
    for to in range(5):
        for source in range(5):
            for count in (0, 1, 3, 4, 15, 16, 21, 40):
                check_move(board, to, source, count)
                check_copy(board, to, source, count)
    board.wire.close()


def check_memory_functions(board: Echo) -> None:
    for to, source, count in ((0, 0, 64), (5, 0, 20), (0, 5, 20), (8, 4, 33), (3, 3, 0)):
        check_move(board, to, source, count)
        check_copy(board, to, source, count)


def check_move(board: Echo, to: int, source: int, count: int) -> None:
    expected = bytearray(range(64))
    expected[to : to + count] = expected[source : source + count]
    answer = board.ask("y", to, source, count, expect=68)
    assert answer[:64] == bytes(expected)


def check_copy(board: Echo, to: int, source: int, count: int) -> None:
    original = bytes(range(64))
    expected = bytearray(b"\xee" * 64)
    expected[to : to + count] = original[source : source + count]
    answer = board.ask("z", to, source, count, expect=68)
    assert answer[:64] == bytes(expected)
    order = struct.unpack("<i", answer[64:])[0]
    assert (order > 0) == (original > bytes(expected))
    assert (order == 0) == (original == bytes(expected))


def check_flash(board: Echo, unit: int, has_features: bool) -> None:
    assert board.number("x", 0) == OK, "erased memory may be erased"
    assert board.number("w", 0, 16, 0x12345678) == OK
    assert board.number("g", 0, 16) == 0x12345678
    assert board.number("w", 0, 16, 0x12345678 | 0x80000000) == FAILED, "flash only clears bits"
    assert board.number("x", 0) == OK
    assert board.number("g", 0, 16) == 0xFFFFFFFF
    last = SLOT_BYTES - unit
    assert board.number("w", 1, last, 77) == OK
    if has_features:
        assert board.number("w", 2, 0, 88) == OK
    for region, offset in ((3, 0), (4, 0), (0, SLOT_BYTES), (0, unit // 2), (0, 2**32 - unit)):
        assert board.number("w", region, offset, 1) == RANGE
    assert board.number("x", 3) == RANGE and board.number("x", 4) == RANGE
    assert board.number("x", 0) == OK
    assert board.number("g", 1, last) == 77, "and the other regions kept what they held"
    if has_features:
        assert board.number("g", 2, 0) == 88
        assert board.number("x", 2) == OK
        assert board.number("g", 2, 0) == 0xFFFFFFFF


def check_reboot(board: Echo) -> None:
    assert board.ask("r", expect=1) == b"r"
    if isinstance(board.wire, QemuBoard):
        wait_until_it_answers(board.wire)
    assert list(board.numbers("i", expect=11)[6:]) == [1, 2, 3, 4, 0]


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", ["nrf52840_dk", "netduinoplus2", "nucleo_l476rg"])
def test_the_store_survives_a_reboot(echo: Builder, name: str, compiler: str) -> None:
    board = Echo(UnicornBoard(keeping_board(name), echo(name, compiler).elf))
    assert board.number("w", 1, 8, 0xCAFE) == OK
    assert board.ask("r", expect=1) == b"r"
    assert board.number("g", 1, 8) == 0xCAFE
    board.wire.close()


@pytest.mark.parametrize("name", ["nrf52840_dk", "netduinoplus2"])
def test_the_marker_pins_show_the_phase(echo: Builder, name: str) -> None:
    wire = UnicornBoard(keeping_board(name), echo(name, "zig").elf)
    board = Echo(wire)
    for phase, title in enumerate(("idle", "forward", "backward", "update")):
        before = wire.counters()[title].instructions
        board.number("m", phase)
        board.ask("h", expect=16)
        assert wire.counters()[title].instructions > before
    wire.close()


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", ["nrf52840_dk", "netduinoplus2"])
def test_a_stack_overflow_leaves_ram_instead_of_eating_data(
    echo: Builder, name: str, compiler: str
) -> None:
    board = Echo(UnicornBoard(keeping_board(name), echo(name, compiler).elf))
    with pytest.raises(BoardError, match="deeper"):
        board.number("o")
    board.wire.close()


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", [*NRF, *STM, *L4])
def test_static_ram_of_the_port_is_what_the_prediction_counts(
    echo: Builder, name: str, compiler: str
) -> None:
    built = echo(name, compiler)
    of_main = {"counters", "total"}
    of_port = sum(symbol.bytes for symbol in built.ram if symbol.name not in of_main)
    port_ram = load_board(name).target.size.ram
    assert of_port == port_ram + firmware.RECEIVE_RING
    assert built.data_bytes + built.bss_bytes == of_port + 20, "and no byte is lost to alignment"
    assert built.stack_bytes == firmware.STACK_BYTES


@pytest.mark.parametrize("compiler", COMPILERS)
def test_what_an_stm32l4_reads_of_a_torn_write_does_not_stop_it(
    echo: Builder, compiler: str
) -> None:
    """The vector of the non-maskable interrupt, by which the chip tells of it, is a way on."""
    elf = echo("nucleo_l476rg", compiler).elf
    with elf.open("rb") as file:
        image = ELFFile(file)
        vectors = image.get_section_by_name(".vectors").data()
        [handler] = image.get_section_by_name(".symtab").get_symbol_by_name("flash_error_handler")
        assert struct.unpack_from("<I", vectors, 4 * 2)[0] == handler["st_value"]
