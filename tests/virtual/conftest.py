"""Images for virtual boards, built from tests/virtual/firmware/."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.conftest import require_tool
from tinyodl.targets.boards import Board, load_board

FIRMWARE = Path(__file__).with_name("firmware")
FLAGS = (
    *("-std=gnu11", "-O2", "-g", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard"),
    *("-mfpu=fpv4-sp-d16", "-ffp-contract=off", "-ffreestanding", "-nostdlib"),
    *("-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra", "-Werror"),
)

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build(name, board, **defines): the ELF of firmware/name.c for a board; each once."""
    folder = tmp_path_factory.mktemp("images")
    built: dict[object, Path] = {}

    def build_image(name: str, board: Board, **defines: int) -> Path:
        compiler = require_tool("arm-none-eabi-gcc")
        key = (name, board.name, *sorted(defines.items()))
        if key not in built:
            elf = folder / f"{name}-{len(built)}.elf"
            macros = {board.family.upper(): 1, **defines}
            subprocess.run(
                [
                    *(compiler, *FLAGS, *(f"-D{macro}={value}" for macro, value in macros.items())),
                    f"-Wl,--defsym=ORIGIN_OF_FLASH={board.flash.origin}",
                    *("-T", str(FIRMWARE / "start.ld"), "-o", str(elf)),
                    *(str(FIRMWARE / file) for file in ("start.c", f"{name}.c")),
                ],
                check=True,
            )
            built[key] = elf
        return built[key]

    return build_image


def symbol(elf: Path, name: str) -> int:
    """The address of a symbol."""
    with elf.open("rb") as file:
        found = ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name(name)
        return int(found[0]["st_value"])


@pytest.fixture(scope="session")
def nrf() -> Board:
    return load_board("nrf52840_dk")


@pytest.fixture(scope="session")
def netduino() -> Board:
    return load_board("netduinoplus2")


@pytest.fixture(scope="session")
def nucleo() -> Board:
    return load_board("nucleo_f446re")
