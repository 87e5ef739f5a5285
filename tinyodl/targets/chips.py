"""Chip families and their chips, as data: `templates/ports/FAMILY/family.toml`, beside their C.

The file lies in the folder that the project writer copies the family's C from, so a family is one
folder, and a wheel has both or neither. What depends on a processor asks `Core` and the figures
here, never a family's name. Sizes are in bytes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinyodl.errors import UserError
from tinyodl.resources import TEMPLATES

PORTS = TEMPLATES / "ports"
FAMILY_FILE = "family.toml"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Region(_Record):
    """A stretch of memory, in bytes."""

    origin: int
    size: int

    @property
    def end(self) -> int:
        return self.origin + self.size

    def overlaps(self, other: Region) -> bool:
        """Whether they have a byte in common."""
        return max(self.origin, other.origin) < min(self.end, other.end)

    def holds(self, other: Region) -> bool:
        """Whether the other one is not empty and lies inside."""
        return self.origin <= other.origin < other.end <= self.end

    def __str__(self) -> str:
        """First and last address."""
        return f"{self.origin:#010x} to {self.end - 1:#010x}"


class Core(StrEnum):
    """The instruction set of a family's processor; `HOST` is the computer that tinyodl runs on."""

    HOST = "host"
    ARMV6M = "armv6m"
    ARMV7M = "armv7m"
    ARMV7EM = "armv7em"
    ARMV8M = "armv8m"
    RV32 = "rv32"


class Chip(_Record):
    """A chip's memory, its pins, and the emulators that have a model of it.

    `units` are the erasable parts of flash from its start: their number and size. The port erases
    units of the last size. `ram` is the RAM a program may use. `pins` are ranges: the first and the
    last number. `pyocd` is pyOCD's name for the chip.
    """

    flash: Region
    units: tuple[tuple[int, int], ...]
    ram: Region
    pins: tuple[tuple[int, int], ...] = ()
    emulators: tuple[str, ...] = ()
    pyocd: str = ""

    @property
    def erase_bytes(self) -> int:
        """The bytes that the port erases at a time."""
        return self.units[-1][1]

    def unit(self, address: int) -> Region | None:
        """The unit of flash erased with the byte at this address; None outside of flash."""
        start = self.flash.origin
        for count, size in self.units:
            if start <= address < start + count * size:
                return Region(origin=start + (address - start) // size * size, size=size)
            start += count * size
        return None

    def is_boundary(self, address: int) -> bool:
        """Whether an address of flash begins a unit, or ends the last one."""
        unit = self.unit(address)
        return address == self.flash.end or (unit is not None and unit.origin == address)

    def has_pin(self, pin: int) -> bool:
        """Whether a pin of that number is on the package."""
        return any(first <= pin <= last for first, last in self.pins)


class Settings(_Record):
    """What a port wants to know of a board: the names of the board file's [settings].

    `pins` are settings that are pin numbers, `numbers` the others with their least and largest
    values. `defaults` are of settings that a board may leave out.
    """

    pins: tuple[str, ...] = ()
    pins_per_port: int = 1
    numbers: Mapping[str, tuple[int, int]] = {}
    defaults: Mapping[str, int] = {}


class Size(_Record):
    """The bytes of the family's C, for predictions: tests measure both.

    `code`: flash of the port and the server. `ram`: .data and .bss of the port, without the receive
    ring and the stack.
    """

    code: int
    ram: int


class Family(_Record):
    """A family of chips that one port of `templates/ports/` serves.

    `cpu` and `fpu` are GCC's names (-mcpu, -mfpu); without `fpu`, floats are computed in software.
    `startup` is the folder with the start-up code of its processor. `cycles` names the processor
    whose cycles the virtual board models (`tinyodl.virtual.cycles`); without it only instructions
    are counted. `virtual` is the module of `tinyodl.virtual` that models the chips around their
    processor. `openocd` is OpenOCD's target file. Flash is programmed `flash_unit` bytes at a time,
    and where the chip keeps an error-correcting code of each unit (`flash_once`), once after an
    erase. `nmi` is the C function for the non-maskable interrupt; without it, one is a fault.
    """

    name: str
    title: str
    core: Core
    cpu: str = ""
    fpu: str = ""
    flags: tuple[str, ...] = ()  # of the compiler, beside -mcpu and those of `fpu`
    cycles: str = ""
    startup: str = ""
    virtual: str = ""
    openocd: str = ""
    flash_unit: Literal[4, 8, 16] = 4
    flash_once: bool = False
    nmi: str = ""
    size: Size
    settings: Settings = Settings()
    chips: Mapping[str, Chip] = Field(min_length=1)

    @property
    def on_host(self) -> bool:
        """Whether its firmware is a program of this computer."""
        return self.core is Core.HOST

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of `templates/ports/` that make up `lib/port`: processor, then chip."""
        return tuple(name for name in (self.startup, self.name) if name)

    @property
    def float_flags(self) -> tuple[str, ...]:
        """The compiler's and the linker's options for floats."""
        if self.on_host:
            return ()
        return ("-mfloat-abi=hard", f"-mfpu={self.fpu}") if self.fpu else ("-mfloat-abi=soft",)


def family_names() -> list[str]:
    """The families there are, in alphabetical order."""
    return sorted(path.parent.name for path in PORTS.glob(f"*/{FAMILY_FILE}"))


def load_family(name: str) -> Family:
    """The family of that name, never of a path.

    Raises UserError that lists the known families, or names the fault in its file.
    """
    names = family_names()
    if name not in names:
        raise UserError(
            f"family = {name!r} is not a chip family that tinyodl has C for; there are "
            f"{', '.join(names)}"
        )
    return _read(PORTS / name / FAMILY_FILE)


@cache
def _read(path: Path) -> Family:
    try:
        given = tomllib.loads(path.read_text("utf-8"))
        return Family.model_validate({"name": path.parent.name} | given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


class _Families(Mapping[str, Family]):
    """The families by name, each read when it is asked for."""

    def __getitem__(self, name: str) -> Family:
        if name not in family_names():
            raise KeyError(name)
        return load_family(name)

    def __iter__(self) -> Iterator[str]:
        return iter(family_names())

    def __len__(self) -> int:
        return len(family_names())


FAMILIES: Mapping[str, Family] = _Families()


def all_chips() -> dict[str, Family]:
    """The family of each chip that there is."""
    return {chip: family for family in FAMILIES.values() for chip in family.chips}


def emulated_by(kind: str) -> list[str]:
    """The chips that an emulator has a model of."""
    return [name for name, family in all_chips().items() if kind in family.chips[name].emulators]
