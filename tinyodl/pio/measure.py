"""The size of a build: bytes of flash and RAM, read from its ELF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tinyodl.errors import ToolError


@dataclass(frozen=True)
class RamSymbol:
    """A variable: `bytes` at `address`, in section ".data" or ".bss"."""

    name: str
    address: int
    bytes: int
    section: str


@dataclass(frozen=True)
class Build:
    """A firmware image and its sizes in bytes. Static RAM is data + bss + stack."""

    elf: Path
    flash_bytes: int  # code, constants and the initial values of .data
    data_bytes: int
    bss_bytes: int
    stack_bytes: int  # reserved; 0 for the host, whose operating system gives it
    compiler: str
    ram: tuple[RamSymbol, ...]  # by address; gaps between them are alignment

    @property
    def ram_bytes(self) -> int:
        """Static RAM, stack included."""
        return self.data_bytes + self.bss_bytes + self.stack_bytes


def measure(elf: Path, compiler: str) -> Build:
    """The sizes of an ELF file. Raises ToolError if it is not one."""
    try:
        with elf.open("rb") as file:
            return _measure(ELFFile(file), elf, compiler)
    except (OSError, ELFError) as error:
        raise ToolError(f"{elf}: not a firmware image: {error}; build it again") from error


def _measure(image: ELFFile, elf: Path, compiler: str) -> Build:
    flash = data = bss = stack = 0
    ram_sections = {}
    for index, section in enumerate(image.iter_sections()):
        if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC:
            continue
        size = int(section["sh_size"])
        writable = bool(section["sh_flags"] & SH_FLAGS.SHF_WRITE)
        if section.name == ".stack":
            stack += size
        elif section["sh_type"] == "SHT_NOBITS":
            bss += size
            ram_sections[index] = ".bss"
        else:
            flash += size
            if writable:
                data += size
                ram_sections[index] = ".data"
    return Build(elf, flash, data, bss, stack, compiler, _ram_symbols(image, ram_sections))


def _ram_symbols(image: ELFFile, sections: dict[int, str]) -> tuple[RamSymbol, ...]:
    table = image.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return ()
    symbols = [
        RamSymbol(
            symbol.name,
            int(symbol["st_value"]),
            int(symbol["st_size"]),
            sections[symbol["st_shndx"]],
        )
        for symbol in table.iter_symbols()
        if symbol["st_info"]["type"] == "STT_OBJECT"
        and symbol["st_shndx"] in sections
        and symbol["st_size"]
    ]
    return tuple(sorted(symbols, key=lambda symbol: symbol.address))
