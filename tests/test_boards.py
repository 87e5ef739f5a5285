"""The boards that tinyodl ships, and what is said about one that does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyodl.errors import UserError
from tinyodl.resources import BOARDS, TEMPLATES
from tinyodl.targets.boards import Board, board_names, load_board, read_board
from tinyodl.targets.chips import Region

EMBEDDED = [name for name in board_names() if name != "host"]

# From the chips' datasheets: where flash and the RAM that is used lie, in bytes.
CHIPS = {
    "nrf52840": (Region(origin=0, size=1024 * 1024), Region(origin=0x20000000, size=256 * 1024)),
    "stm32f405rg": (
        Region(origin=0x08000000, size=1024 * 1024),
        Region(origin=0x20000000, size=128 * 1024),
    ),
    "stm32f446re": (
        Region(origin=0x08000000, size=512 * 1024),
        Region(origin=0x20000000, size=128 * 1024),
    ),
    "stm32l476rg": (
        Region(origin=0x08000000, size=1024 * 1024),
        Region(origin=0x20000000, size=96 * 1024),
    ),
    "stm32l4r5zi": (
        Region(origin=0x08000000, size=2048 * 1024),
        Region(origin=0x20000000, size=640 * 1024),
    ),
}


@pytest.fixture(params=EMBEDDED)
def board(request: pytest.FixtureRequest) -> Board:
    return load_board(request.param)


def test_the_shipped_boards() -> None:
    assert board_names() == [
        *("host", "nano33ble", "netduinoplus2", "nrf52840_dk", "nucleo_f446re"),
        *("nucleo_l476rg", "nucleo_l4r5zi"),
    ]


def test_memory_lies_inside_the_chip(board: Board) -> None:
    flash, ram = CHIPS[board.chip]
    assert flash.origin <= board.flash.origin < board.flash.end <= flash.end
    assert board.ram == ram


def test_the_store_is_the_end_of_flash_and_the_program_stays_out_of_it(board: Board) -> None:
    flash, _ = CHIPS[board.chip]
    assert board.store is not None
    first, second = board.store.slots
    assert board.flash.end == first
    assert first + board.store.slot_bytes == second
    end = 0xE0000 if board.name == "nano33ble" else flash.end  # a boot loader may lie behind it
    assert second + board.store.slot_bytes == end


def test_slots_are_whole_erasable_units(board: Board) -> None:
    units = {"nrf52840": 4, "stm32l476rg": 2, "stm32l4r5zi": 8}  # in KB
    unit = units.get(board.chip, 128) * 1024
    assert board.store is not None
    assert board.store.erase_bytes == unit
    assert board.store.slot_bytes % unit == 0
    assert all(address % unit == 0 for address in board.store.slots)
    if board.family == "stm32f4":
        assert board.store.slot_bytes == unit


def test_the_program_starts_where_a_vector_table_may_lie(board: Board) -> None:
    assert board.flash.origin % 512 == 0, "VTOR: a power of two over 4 * (16 + interrupts) bytes"


def test_the_nano_keeps_its_boot_loader() -> None:
    assert load_board("nano33ble").flash.origin == 0x10000


def test_baud_rates_divide_every_clock_the_board_may_end_at(board: Board) -> None:
    assert board.serial is not None
    if board.family == "stm32f4":
        bus = board.clock_hz // (2 if board.settings["usart"] == 1 else 4)
        for clock in (bus, 16_000_000):
            divisor = round(clock / board.serial.baud)
            assert abs(clock / divisor / board.serial.baud - 1) < 0.01
            assert divisor >= 16, "16-fold oversampling"


def test_the_pll_reaches_the_clock(board: Board) -> None:
    """RM0090 section 7.3.2: 1 MHz in, 100 to 432 MHz inside; M is 2 to 63, N 50 to 432."""
    if board.family == "stm32f4":
        assert board.clock_hz % 1_000_000 == 0 and board.settings["hse_hz"] % 1_000_000 == 0
        assert 2 <= board.settings["hse_hz"] // 1_000_000 <= 63
        assert 100 <= 2 * board.clock_hz // 1_000_000 <= 432
        assert board.clock_hz <= {"stm32f405rg": 168, "stm32f446re": 180}[board.chip] * 1_000_000


def test_an_stm32l4_runs_at_what_its_datasheet_allows(board: Board) -> None:
    """DS10198 and DS12023: 80 and 120 MHz; RM0351: the PLL takes 4 MHz 8 to 86 times, twice."""
    if board.family == "stm32l4":
        assert board.clock_hz == {"stm32l476rg": 80, "stm32l4r5zi": 120}[board.chip] * 1_000_000
        assert board.clock_hz % 2_000_000 == 0 and 8 <= board.clock_hz // 2_000_000 <= 86
        for clock in (board.clock_hz, 16_000_000):
            fractions = 256 if board.settings["lpuart"] else 1
            divisor = round(fractions * clock / board.serial.baud)
            assert abs(fractions * clock / divisor / board.serial.baud - 1) < 0.001
            assert divisor >= (0x300 if board.settings["lpuart"] else 16)


def test_marker_pins_are_not_taken_by_anything_else(board: Board) -> None:
    used = {board.settings[name] for name in ("uart_tx", "uart_rx", "led", "mark_0", "mark_1")}
    assert len(used) == 5


def test_energy_names_a_document(board: Board) -> None:
    if board.name == "nucleo_l4r5zi":
        assert board.energy is None, "no figure of it was found in a document"
        return
    assert board.energy is not None
    assert 1.7 <= board.energy.supply_v <= 3.6
    assert 1 <= board.energy.run_ma <= 150
    assert "MHz" in board.energy.source and len(board.energy.source) > 60


def test_a_port_has_its_templates(board: Board) -> None:
    for folder in board.target.folders:
        assert any((TEMPLATES / "ports" / folder).glob("*.c"))


def test_usb_ids_tell_the_boards_apart() -> None:
    seen: dict[tuple[int, int], str] = {}
    for name in EMBEDDED:
        serial = load_board(name).serial
        for usb_id in serial.usb_ids if serial else ():
            assert seen.setdefault(usb_id, name) == name


def test_the_host_has_no_board_about_it() -> None:
    host = load_board("host")
    assert host.target.folders == ("host",)
    assert host.serial is None and host.energy is None and host.store is None
    assert host.virtual == ()


def test_an_unknown_board_is_answered_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'arduino_uno' is unknown; tinyodl knows host, nano33ble"):
        load_board("arduino_uno")


def test_a_broken_description_names_the_file_and_the_field(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (BOARDS / "nrf52840_dk.toml").read_text()
    path.write_text(text.replace("clock_hz = 64_000_000", 'clock_hz = "fast"'))
    with pytest.raises(UserError, match=r"mine\.toml: clock_hz: Input should be a valid integer"):
        read_board(path)
    path.write_text("title = ")
    with pytest.raises(UserError, match=r"mine\.toml: not valid TOML"):
        read_board(path)
