"""A boot loader that the chip itself names is never erased, whatever the board's file says.

Boot loaders are named as Nordic's master boot record does it: in UICR, or in its own last words.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.ports.conftest import Builder
from tests.ports.projects import keeping_board
from tests.ports.test_firmware import COMPILERS, Echo
from tinyodl.targets import boards
from tinyodl.targets.boards import load_board
from tinyodl.virtual.unicorn_board import UnicornBoard

OK, TAKEN, NONE = 0, 2**32 - 3, 2**32 - 1
LOADER, PARAMETERS = 0x1000_1014, 0x1000_1018  # UICR.NRFFW[0] and [1]
MBR_LOADER, MBR_PARAMETERS = 0xFF8, 0xFFC
SLOT_1, SLOT_2, FEATURES = 0, 1, 2
MARK = 0xB0
REGION = 0x2_0000


@pytest.fixture(scope="session")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of boards with one whose file knows of no boot loader behind its program: its slots
    are those that nano33ble had before anybody looked, 0xC0000 to 0xFFFFF."""
    folder = tmp_path_factory.mktemp("boards")
    shutil.copytree(boards.BOARDS, folder, dirs_exist_ok=True)
    text = (folder / "nano33ble.toml").read_text()
    text = text.replace("[0x000A_0000, 0x000C_0000]", "[0x000C_0000, 0x000E_0000]")
    start, end = text.index("[[boot_loaders]]"), text.index("[platformio]")
    (folder / "careless.toml").write_text(text[:start] + text[end:])
    return folder


@pytest.fixture
def known(careless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "BOARDS", careless)


def word(value: int) -> bytes:
    return value.to_bytes(4, "little")


def powered(
    echo: Builder, name: str, found: Mapping[int, bytes], store: Path | None = None
) -> UnicornBoard:
    return UnicornBoard(keeping_board(name), echo(name, "gcc").elf, store, found=found)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_all_bytes_of_a_boot_loader_that_uicr_names_are_left(
    known: None, echo: Builder, compiler: str, tmp_path: Path
) -> None:
    store, board = tmp_path / "flash.bin", keeping_board("careless")
    marked = bytes([MARK]) * (2 * REGION + 4096)  # both slots and the features
    store.write_bytes(marked)
    found = {LOADER: word(0xE0000)}
    with UnicornBoard(board, echo("careless", compiler).elf, store, found=found) as wire:
        line = Echo(wire)
        assert line.number("b") == 0xE0000
        for region in (SLOT_2, SLOT_1, FEATURES):  # not one of them: one slot is no safe store
            assert line.number("x", region) == TAKEN
            assert line.number("w", region, 0, 0) == TAKEN
        assert line.number("w", SLOT_2, REGION - 4, 0) == TAKEN
    assert store.read_bytes() == marked
    with UnicornBoard(board, echo("careless", compiler).elf, store) as wire:
        assert Echo(wire).number("x", SLOT_2) == OK, "nothing but the name keeps it"


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ({}, NONE),
        ({LOADER: 0xFF000}, 0xFF000),
        ({LOADER: 0xFFFFC}, 0xFFFFC),
        ({LOADER: 0x100000}, NONE),
        ({LOADER: 0xC0000}, 0xC0000),
        ({LOADER: 0x12345}, 0x12345),
        ({LOADER: 0}, 0),
        ({PARAMETERS: 0xC1000}, 0xC1000),
        ({PARAMETERS: 0xFF000}, 0xFF000),
        ({PARAMETERS: 0x8E000}, NONE),
        ({PARAMETERS: 0x9F000}, 0x9F000),
        ({PARAMETERS: 0x100000}, NONE),
        ({PARAMETERS: 0xFF000, LOADER: 0xE8000}, 0xE8000),
        ({MBR_LOADER: 0xF4000}, 0xF4000),
        ({MBR_LOADER: 0xF4000, LOADER: 0xD0000}, 0xD0000),
        ({MBR_PARAMETERS: 0xDF000}, 0xDF000),
        ({MBR_LOADER: 0x4B056013, MBR_PARAMETERS: 0x681BA801}, NONE),
        ({MBR_LOADER: 0, MBR_PARAMETERS: 0}, NONE),
    ],
)
def test_what_uicr_and_the_master_boot_record_say(
    known: None, echo: Builder, found: dict[int, int], named: int
) -> None:
    """Regions: one page of features from 0x9F000 on, slots from 0xC0000 on. The last words but two
    are code: what Arduino's first boot loader has in the record's place."""
    with powered(echo, "careless", {at: word(value) for at, value in found.items()}) as wire:
        line = Echo(wire)
        assert line.number("b") == named
        for region in (SLOT_1, SLOT_2, FEATURES):
            assert line.number("x", region) == (OK if named == NONE else TAKEN)


def test_a_program_in_the_records_place_is_not_taken_for_one(echo: Builder) -> None:
    """The DK's program begins at 0, and its own words at 0xFF8 are no addresses."""
    with UnicornBoard(keeping_board("nrf52840_dk"), echo("nrf52840_dk", "gcc").elf) as wire:
        assert Echo(wire).number("b") == NONE
    with powered(echo, "nrf52840_dk", {LOADER: word(0xF8000)}) as wire:
        assert Echo(wire).number("b") == 0xF8000, "UICR counts wherever the program is"


def test_the_nano_stays_clear_of_both_its_boot_loaders(echo: Builder) -> None:
    nano = keeping_board("nano33ble")
    places = {0x0: 0x1000, 0xE0000: 0x8C90, 0xFF000: 0x1000}
    found = {at: bytes([MARK]) * size for at, size in places.items()}
    found |= {LOADER: word(0xE0000), MBR_LOADER: word(0xE0000)}
    with powered(echo, "nano33ble", found) as wire:
        line = Echo(wire)
        for region in (SLOT_1, SLOT_2, FEATURES):
            assert line.number("w", region, 0, 1) == line.number("x", region) == OK
        assert wire.peek(0, 0xFF8) == bytes([MARK]) * 0xFF8
        for at, size in list(places.items())[1:]:
            assert wire.peek(at, size) == bytes([MARK]) * size
    for region in (nano.flash, *nano.regions):
        assert region.origin >= 0x10000 and region.end <= 0xE0000


def test_no_stm32f4_names_a_boot_loader(echo: Builder) -> None:
    board = load_board("netduinoplus2")
    with UnicornBoard(keeping_board(board.name), echo(board.name, "gcc").elf) as wire:
        assert Echo(wire).number("b") == NONE
