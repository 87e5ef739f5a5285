"""Board descriptions: one TOML file per board in `boards/`, checked on load."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tinyodl.errors import UserError
from tinyodl.resources import BOARDS


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Region(_Record):
    """A stretch of memory, in bytes."""

    origin: int
    size: int

    @property
    def end(self) -> int:
        return self.origin + self.size


class Store(_Record):
    """Two flash slots for learned weights, each erased as a whole; outside the `flash` region.

    Flash is erased in units of `erase_bytes`, there and at the end of the `flash` region.
    """

    slots: tuple[int, int]  # addresses
    slot_bytes: int
    erase_bytes: int


class PlatformIo(_Record):
    """Ids of the official platform and board, and how PlatformIO uploads by default.

    `upload_usb_ids` are those of a boot loader's serial port, where it is another than the serial
    link's.
    """

    platform: str
    board: str
    upload_protocol: str | None = None
    upload_usb_ids: tuple[tuple[int, int], ...] = ()


class Serial(_Record):
    """The serial link: baud rate, USB (vendor, product) ids of the board's bridge, and the pins."""

    baud: int
    usb_ids: tuple[tuple[int, int], ...] = ()
    pins: str = ""


class Energy(_Record):
    """Run mode at the clock used. Energy from these figures is always marked "estimated"."""

    supply_v: float
    run_ma: float
    source: str  # document, table, conditions


class Radio(_Record):
    """The chip's radio while it sends, and the bits of user data a second that it then sends."""

    supply_v: float
    ma: float
    bps: float
    source: str  # document, table, conditions; how the goodput follows


class Board(_Record):
    """One board. `port` names the folder of `templates/ports/`; sizes in bytes, clock in Hz."""

    name: str
    title: str
    chip: str
    port: Literal["nrf52840", "stm32f4", "host"]
    cpu: str
    clock_hz: int
    flash: Region  # what the linker may use: without bootloader and store
    ram: Region
    store: Store | None = None
    platformio: PlatformIo
    serial: Serial | None = None
    energy: Energy | None = None
    radio: Radio | None = None
    settings: dict[str, int] = {}  # what the port must know about the board: PORT_... in config.h
    virtual: tuple[str, ...] = ()  # of "virtual" and "qemu"
    notes: str = ""
    kept: tuple[Region, Region] = (Region(origin=0, size=0), Region(origin=0, size=0))

    @property
    def regions(self) -> tuple[Region, ...]:
        """The flash that the firmware writes, as `port.h` numbers it: slots, features, best."""
        store = self.store
        slots = [Region(origin=at, size=store.slot_bytes) for at in store.slots] if store else []
        return (*slots, *self.kept)

    def keeping(self, features: int, best: int) -> Board:
        """The board with so many bytes at the end of `flash` for what the network keeps there.

        Each a number that `whole` gave, and together less than `flash` has.
        """
        end = self.flash.end
        kept = (
            Region(origin=end - features - best, size=features),
            Region(origin=end - best, size=best),
        )
        flash = Region(origin=self.flash.origin, size=self.flash.size - features - best)
        return self.model_copy(update={"flash": flash, "kept": kept})

    def whole(self, size: int) -> int:
        """The least number of bytes from `size` on that is erased by itself."""
        unit = self.store.erase_bytes if self.store else 1
        return -(-size // unit) * unit

    @property
    def port_folders(self) -> tuple[str, ...]:
        """The folders of `templates/ports/` that make up `lib/port`: processor, chip family."""
        return (self.port,) if self.port == "host" else ("cortex_m4", self.port)


def board_names() -> list[str]:
    """The boards tinyodl knows, in alphabetical order."""
    return sorted(path.stem for path in BOARDS.glob("*.toml"))


def load_board(name: str) -> Board:
    """The board of that name, never of a path. Raises UserError that lists those there are."""
    names = board_names()
    if name not in names:
        raise UserError(f"board {name!r} is unknown; tinyodl knows {', '.join(names)}")
    return read_board(BOARDS / f"{name}.toml")


def read_board(path: Path) -> Board:
    """A board from a TOML file, whose stem is its name.

    Raises UserError naming the file and the field at fault.
    """
    try:
        return Board.model_validate({"name": path.stem} | tomllib.loads(path.read_text("utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}") from error
