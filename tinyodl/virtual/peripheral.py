"""The interfaces of a modelled peripheral and of the chip as it sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tinyodl.targets.boards import Board


class Misuse(Exception):  # noqa: N818  it becomes a BoardError once the pc is known
    """The firmware used a peripheral in a way not modelled, or one that fails on silicon.

    The message completes "the firmware ...", as in "reads register 0x40 of PPI"."""


class Peripheral(Protocol):
    """Registers of 32 bits at multiples of 4. Both functions raise Misuse."""

    @property
    def name(self) -> str: ...

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...


class Machine(Protocol):
    """The interface of peripherals to the board around them."""

    @property
    def board(self) -> Board: ...

    def now(self) -> int:
        """Time since power on, in cycles of the core's clock, sleep included."""

    def cycles(self) -> int:
        """Modelled cycles executed, up to the current instruction."""

    @property
    def byte_cycles(self) -> int:
        """How long a byte takes on the line."""

    def transmit(self, data: bytes) -> None:
        """Puts bytes on the line to the host."""

    def ram(self, address: int, size: int) -> memoryview:
        """A view of RAM, as a DMA engine sees it. Raises Misuse outside of RAM."""

    def program(self, width: int) -> None:
        """From now on flash takes writes of `width` bytes; 0: none."""

    def refused(self) -> set[str]:
        """Why writes to flash were ignored since the last call: "off", "width", "order" (a unit's
        words did not come one after the other), "twice" (a unit was programmed already)."""

    def erase(self, address: int, size: int) -> None:
        """Sets flash to ones. Raises Misuse outside the store."""

    def mark(self, phase: int) -> None:
        """The marker pins show this phase."""

    def reset(self) -> None:
        """Requests a reset of the chip."""


class Chip(Protocol):
    """The peripherals around a core, as they are after a reset."""

    @property
    def peripherals(self) -> Mapping[range, Peripheral]:
        """By the addresses that each answers to; multiples of 1 KiB."""

    @property
    def burst(self) -> int:
        """How many bytes may gather while the core sleeps before it wakes. Silicon wakes for each;
        fewer turns of an idle firmware are all that this changes, and much faster."""

    def receive(self, data: bytes) -> None:
        """Bytes that have arrived at the receiving pin; each may overrun the one before."""

    def gather(self, data: bytes) -> None:
        """Bytes that have arrived while the core slept. None overruns another, if the firmware
        takes them in no more time than they took on the line."""

    def level(self, pin: int) -> int:
        """1 where a pin, numbered as in the board's settings, is an output at high level."""

    def interrupts(self) -> int:
        """The interrupt lines that are high, bit n for interrupt n."""


@dataclass(frozen=True)
class Area:
    """A stretch of memory on the chip; `contents` fill a read-only one from its start.

    `file` is a file of the project that replaces these contents, where it is there.
    """

    name: str
    address: int
    size: int
    contents: bytes | None = None
    file: str = ""


@dataclass(frozen=True)
class MemoryMap:
    flash: Area
    ram: tuple[Area, ...]
    constants: tuple[Area, ...] = ()


@dataclass(frozen=True)
class Model:
    """A chip family on the virtual board: each module that models one has it as `MODEL`."""

    memory: Callable[[Board], MemoryMap]
    chip: Callable[[Machine], Chip]


def unknown(verb: str, offset: int, peripheral: Peripheral) -> Misuse:
    """For a register that no model has."""
    return Misuse(f"{verb} register {offset:#x} of {peripheral.name}, which is not modelled")
