"""Board files that could erase a boot loader, and chips that name one where nobody expects it.

A board file: a layout of an nRF52840 that fits, with one number of it moved. It must be taken
exactly if every page of flash still belongs to one owner at most. UICR: addresses of flash in UICR
and in the master boot record, and a firmware that erases and writes all its regions. Every byte
from a named boot loader on, and of a named page of parameters, must be as before; without one, all
of it is written.
"""

from __future__ import annotations

import random
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.builds import build
from tests.ports.projects import keeping_board, write_project
from tests.test_board_checks import PAGE, owners
from tinyodl.errors import ToolError
from tinyodl.resources import BOARDS
from tinyodl.targets import boards
from tinyodl.targets.board_checks import mistakes
from tinyodl.targets.boards import Board, BootLoader, Store, load_board
from tinyodl.targets.chips import FAMILIES, Region
from tinyodl.virtual.unicorn_board import UnicornBoard

WHAT = (
    "a board file with one wrong number, or a boot loader that UICR names: no byte of it is erased"
)

FLASH_END = 0x10_0000
NAMES = (0x1000_1014, 0x1000_1018, 0xFF8, 0xFFC)  # boot loader, parameters; in UICR, in the record
ERASED = 0xFFFF_FFFF
MARK = b"\xb0"


def trials(seed: int) -> Iterator[tuple[str, str | None]]:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        try:
            board, elf = careless(Path(folder))
        except ToolError:  # no compiler for the board: files alone
            while True:
                yield "board file", wrong_file(chance)
        while True:
            for _ in range(50):
                yield "board file", wrong_file(chance)
            yield "UICR names a boot loader", attacked(board, elf, chance, Path(folder))


def wrong_file(chance: random.Random) -> str | None:
    """A layout that fits, then one number moved, or none."""
    sizes = [
        chance.randint(1, 60) for _ in range(4)
    ]  # pages: program, a slot, the loader, in front
    order = ["program", "slot", "other", "loader"]
    if chance.random() < 0.5:  # else the program is where most boards have it
        chance.shuffle(order)
    pages = {"program": sizes[0], "slot": sizes[1], "other": sizes[1], "loader": sizes[2]}
    at, places = sizes[3] * PAGE, {}
    for name in order:
        places[name] = at
        at += (pages[name] + chance.choice((0, 0, 1))) * PAGE
    values = {
        "program": places["program"],
        "program size": pages["program"] * PAGE,
        "slot": places["slot"],
        "other": places["other"],
        "slot size": pages["slot"] * PAGE,
    }
    moved = chance.choice((None, *values))
    if moved:
        values[moved] += chance.choice((1, -1, 4, PAGE, -PAGE, PAGE // 2, 2**32, -(2**20)))
    loader = Region(origin=places["loader"], size=pages["loader"] * PAGE)
    if loader.end > FLASH_END:
        return None
    board = load_board("nrf52840_dk").model_copy(
        update={
            "flash": Region(origin=values["program"], size=values["program size"]),
            "store": Store(
                slots=(values["slot"], values["other"]),
                slot_bytes=values["slot size"],
                erase_bytes=PAGE,
            ),
            "boot_loaders": (BootLoader(name="x", regions=(loader,)),),
        }
    )
    found, fits = list(mistakes(board)), owners(board, FAMILIES["nrf52840"].chips["nrf52840"])
    return None if bool(found) != fits else f"fits: {fits}, said: {found}, of {board}"


def careless(folder: Path) -> tuple[Board, Path]:
    """A board without boot loaders in its file, and a firmware that does as it is told."""
    shutil.copytree(BOARDS, folder / "boards")
    text = (folder / "boards" / "nano33ble.toml").read_text()
    start, end = text.index("[[boot_loaders]]"), text.index("[platformio]")
    (folder / "boards" / "careless.toml").write_text(text[:start] + text[end:])
    usual, boards.BOARDS = boards.BOARDS, folder / "boards"
    try:
        board = keeping_board("careless")
        return board, build(write_project(folder / "p", "careless"), board).elf
    finally:
        boards.BOARDS = usual


def attacked(board: Board, elf: Path, chance: random.Random, folder: Path) -> str | None:
    store = folder / "flash.bin"
    regions = [region for region in board.regions if region.size]
    store.write_bytes(MARK * sum(region.size for region in regions))
    words = dict.fromkeys(NAMES, ERASED)
    for name in chance.sample(NAMES, chance.randint(1, 2)):
        words[name] = chance.randrange(0x1000, FLASH_END, PAGE)
    found = {name: word.to_bytes(4, "little") for name, word in words.items()}
    with UnicornBoard(board, elf, store, found=found) as wire:
        for region in range(len(regions)):
            for request in (
                struct.pack("<cI", b"x", region),
                struct.pack("<c3I", b"w", region, 0, 0),
                struct.pack("<c3I", b"w", region, regions[region].size - 4, 0),
            ):
                wire.write(request)
                wire.read(10.0)
    after, at, lost, spared = store.read_bytes(), 0, [], False
    for region in regions:
        for page in range(0, region.size, PAGE):
            address = region.origin + page
            loader = address + PAGE > min(words[NAMES[0]], words[NAMES[2]])
            named = loader or address in (words[NAMES[1]], words[NAMES[3]])
            spared |= named
            if named and after[at + page : at + page + PAGE] != MARK * PAGE:
                lost.append(f"{address:#x}")
        at += region.size
    said = ", ".join(f"{name:#x}={word:#x}" for name, word in words.items())
    if lost:
        return f"with {said}, these pages were written: {', '.join(lost)}"
    untouched = MARK[0] in after
    return f"with {said}, flash was left alone" if untouched and not spared else None
