"""A firmware image: what an ELF file puts where, its code, and the names of its functions."""

from __future__ import annotations

import bisect
import io
import itertools
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

from tinyodl.errors import UserError


@dataclass(frozen=True)
class Segment:
    """Bytes that are loaded into flash; `address` is the load address."""

    address: int
    data: bytes


@dataclass(frozen=True)
class CodeSection:
    """An executable section at its run-time address. `spans` are the (start, end) addresses that
    hold instructions; the rest are literals."""

    address: int
    data: bytes
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Function:
    name: str
    address: int
    size: int  # 0 where the symbol has none


@dataclass(frozen=True)
class Image:
    path: Path
    segments: tuple[Segment, ...]
    code: tuple[CodeSection, ...]
    functions: tuple[Function, ...]  # by address
    labels: tuple[tuple[str, int], ...]  # other symbols: name and value

    def function_at(self, address: int) -> Function | None:
        """The function that an address lies in."""
        before = bisect.bisect_right(self.functions, address, key=lambda f: f.address) - 1
        if before < 0:
            return None
        function = self.functions[before]
        return function if address - function.address < function.size else None

    def where(self, address: int) -> str:
        """`function+0x12`, or the bare address where no function lies."""
        before = bisect.bisect_right(self.functions, address, key=lambda f: f.address) - 1
        if before >= 0:
            function = self.functions[before]
            offset = address - function.address
            if offset < function.size or (function.size == 0 and offset < 0x1000):
                return f"{function.name}+{offset:#x}" if offset else function.name
        return "no function of the image"


def load_image(path: Path, content: bytes | None = None) -> Image:
    """Reads an ELF file for 32-bit Arm, symbols included. Raises UserError for anything else.

    `content` are the file's bytes, where they were read already.
    """
    try:
        with path.open("rb") if content is None else io.BytesIO(content) as file:
            elf = ELFFile(file)
            if elf.get_machine_arch() != "ARM" or elf.elfclass != 32:
                raise UserError(f"{path} is not firmware for a 32-bit Arm chip; build it again")
            return _read(path, elf)
    except (OSError, ELFError) as error:
        raise UserError(
            f"{path} cannot be read as an ELF file ({error}); build it again"
        ) from error


def _read(path: Path, elf: ELFFile) -> Image:
    segments = tuple(
        Segment(segment["p_paddr"], segment.data())
        for segment in elf.iter_segments("PT_LOAD")
        if segment["p_filesz"]
    )
    functions: dict[int, Function] = {}
    labels: list[tuple[str, int]] = []
    marks: list[tuple[int, bool]] = []  # (address, instructions from here on?)
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        raise UserError(f"{path} has no symbols, which the virtual board needs; build it again")
    for symbol in table.iter_symbols():
        address = symbol["st_value"]
        if symbol["st_info"]["type"] == "STT_FUNC":
            address &= ~1
            functions[address] = Function(symbol.name, address, symbol["st_size"])
        elif symbol.name.split(".")[0] in ("$t", "$d"):  # Arm ELF (AAELF32), mapping symbols
            marks.append((address, symbol.name.startswith("$t")))
        elif symbol["st_info"]["type"] == "STT_NOTYPE":
            labels.append((symbol.name, address))
    marks.sort()
    code = tuple(
        CodeSection(section["sh_addr"], section.data(), _spans(section, marks))
        for section in elf.iter_sections("SHT_PROGBITS")
        if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and section["sh_size"]
    )
    by_address = tuple(functions[address] for address in sorted(functions))
    return Image(path, segments, code, by_address, tuple(labels))


def _spans(section: Section, marks: list[tuple[int, bool]]) -> tuple[tuple[int, int], ...]:
    start = section["sh_addr"]
    end = start + section["sh_size"]
    inside = [mark for mark in marks if start <= mark[0] < end] + [(end, False)]
    return tuple(
        (address, following)
        for (address, is_code), (following, _) in itertools.pairwise(inside)
        if is_code and following > address
    )
