"""The chips that boards are made with, and what all chips of a family have in common.

Sizes are in bytes. Sources: nRF52840 Product Specification v1.1, sections "Memory" and "GPIO"; ST
datasheets DocID022152 (STM32F405) and DS10693 (STM32F446), "Memory mapping" and the pinout of 64
pins; RM0090 section 3.3 and RM0390 section 3.3 for the sectors of flash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

KIB = 1024


class Region(BaseModel):
    """A stretch of memory, in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


@dataclass(frozen=True)
class Family:
    """What a port of `templates/ports/` wants to know of a board: the names of [settings].

    `pins` are settings that are pin numbers, `numbers` the others with their least and largest
    values. `defaults` are of settings that a board may leave out.
    """

    cpu: str
    pins: tuple[str, ...] = ()
    pins_per_port: int = 1
    numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    defaults: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Chip:
    """A chip's memory, its pins, and the emulators that have a model of it.

    `units` are the parts of flash that can be erased, from its start: how many, and of which size.
    The port erases those of the last size. `ram` is what a program may use.
    """

    family: str
    flash: Region
    units: tuple[tuple[int, int], ...]
    ram: Region
    pins: tuple[range, ...] = ()
    emulators: tuple[str, ...] = ()

    @property
    def erase_bytes(self) -> int:
        """The size of what the port erases at a time."""
        return self.units[-1][1]

    def unit(self, address: int) -> Region | None:
        """What is erased with the byte at this address; None outside of flash."""
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


_PINS = ("uart_tx", "uart_rx", "led", "mark_0", "mark_1")

FAMILIES: Mapping[str, Family] = {
    "host": Family(cpu="host"),
    "nrf52840": Family(
        cpu="cortex-m4f",
        pins=_PINS,
        pins_per_port=32,
        numbers={"led_on": (0, 1), "dcdc": (0, 1)},
        defaults={"mark_0": 3, "mark_1": 4},
    ),
    "stm32f4": Family(
        cpu="cortex-m4f",
        pins=_PINS,
        pins_per_port=16,
        numbers={"usart": (1, 2), "hse_hz": (2_000_000, 50_000_000), "hse_bypass": (0, 1)},
        defaults={"mark_0": 32, "mark_1": 33},
    ),
}

_SRAM = 0x2000_0000
_LQFP64 = (range(48), range(50, 51), range(112, 114))  # PA, PB, PC; PD2; PH0, PH1

CHIPS: Mapping[str, Chip] = {
    "host": Chip(
        family="host",
        flash=Region(origin=0, size=0x4000_0000),
        units=((0x4000_0000, 1),),
        ram=Region(origin=0, size=0x4000_0000),
    ),
    "nrf52840": Chip(
        family="nrf52840",
        flash=Region(origin=0, size=1024 * KIB),
        units=((256, 4 * KIB),),
        ram=Region(origin=_SRAM, size=256 * KIB),
        pins=(range(48),),  # P0.00 to P0.31, P1.00 to P1.15
        emulators=("virtual",),
    ),
    "stm32f405rg": Chip(
        family="stm32f4",
        flash=Region(origin=0x0800_0000, size=1024 * KIB),
        units=((4, 16 * KIB), (1, 64 * KIB), (7, 128 * KIB)),
        ram=Region(origin=_SRAM, size=128 * KIB),
        pins=_LQFP64,
        emulators=("virtual", "qemu"),
    ),
    "stm32f446re": Chip(
        family="stm32f4",
        flash=Region(origin=0x0800_0000, size=512 * KIB),
        units=((4, 16 * KIB), (1, 64 * KIB), (3, 128 * KIB)),
        ram=Region(origin=_SRAM, size=128 * KIB),
        pins=_LQFP64,
        emulators=("virtual",),
    ),
}


def emulated_by(kind: str) -> list[str]:
    """The chips that an emulator has a model of."""
    return [name for name, chip in CHIPS.items() if kind in chip.emulators]
