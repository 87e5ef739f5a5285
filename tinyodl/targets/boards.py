"""Board descriptions: one TOML file per board in `boards/`, checked on load (board_checks)."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from tinyodl.errors import UserError
from tinyodl.resources import BOARDS
from tinyodl.targets.board_checks import flash_mistakes, mistakes
from tinyodl.targets.chips import Chip, Family, Region, family_names, load_family


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Store(_Record):
    """Two flash slots for learned weights, each erased as a whole; outside the `flash` region.

    Flash is erased in units of `erase_bytes`, there and at the end of the `flash` region.
    """

    slots: tuple[int, int]  # addresses
    slot_bytes: int
    erase_bytes: int


class BootLoader(_Record):
    """A boot loader the board may have, and the flash left to it.

    Several may exclude each other: nobody can tell which one a board has before it runs.
    """

    name: str
    regions: tuple[Region, ...] = Field(min_length=1)


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

    baud: PositiveInt
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
    """One board. Its chip family names the folder of `templates/ports/`; sizes in bytes, Hz.

    Files of earlier versions call the family `port`, and name its processor as `cpu` besides.
    """

    name: str
    title: str
    chip: str
    family: str = Field(validation_alias=AliasChoices("family", "port"))
    cpu: str = ""
    clock_hz: PositiveInt
    flash: Region  # the linker's part: without bootloader and store
    ram: Region
    store: Store | None = None
    boot_loaders: tuple[BootLoader, ...] = ()
    platformio: PlatformIo
    serial: Serial | None = None
    energy: Energy | None = None
    radio: Radio | None = None
    settings: dict[str, int] = {}  # the port's constants for the board: PORT_... in config.h
    virtual: tuple[str, ...] = ()  # of "virtual" and "qemu"
    notes: str = ""
    kept: tuple[Region, Region] = (Region(origin=0, size=0), Region(origin=0, size=0))
    own: str = ""  # the text of its file, where it is the user's own

    @property
    def regions(self) -> tuple[Region, ...]:
        """The flash that the firmware writes, as `port.h` numbers it: slots, features, best."""
        store = self.store
        slots = [Region(origin=at, size=store.slot_bytes) for at in store.slots] if store else []
        return (*slots, *self.kept)

    def keeping(self, features: int, best: int) -> Board:
        """The board with so many bytes at the end of `flash` for what the network keeps there.

        Each a number that `whole` gave. Raises UserError where `flash` has no room for them and
        the program.
        """
        if (features or best) and self.target.flash_once:
            raise UserError(
                f"board {self.name}: its chip programs flash only once, "
                f"{self.target.flash_unit} bytes at a time, and what the network keeps there is "
                "written by words of 4; use --cache-memory ram and --guard-memory ram"
            )
        end = self.flash.end
        kept = (
            Region(origin=end - features - best, size=features),
            Region(origin=end - best, size=best),
        )
        flash = Region(origin=self.flash.origin, size=self.flash.size - features - best)
        board = self.model_copy(update={"flash": flash, "kept": kept})
        for mistake in flash_mistakes(board) if features or best else ():
            raise UserError(
                f"board {self.name}: with {features + best} bytes of flash for what the network "
                f"keeps there, {mistake}"
            )
        return board

    def whole(self, size: int) -> int:
        """The least number of bytes from `size` on that is erased by itself."""
        unit = self.store.erase_bytes if self.store else 1
        return -(-size // unit) * unit

    @property
    def target(self) -> Family:
        """Its chip family. Raises UserError where there is none of that name."""
        return load_family(self.family)

    @property
    def on_host(self) -> bool:
        """Whether it is this computer."""
        return self.target.on_host

    @property
    def silicon(self) -> Chip:
        """Its chip, one of the family's."""
        return self.target.chips[self.chip]


def board_names() -> list[str]:
    """The boards tinyodl knows, in alphabetical order."""
    return sorted(path.stem for path in BOARDS.glob("*.toml"))


def readable_boards() -> list[Board]:
    """The boards whose files are in order, in alphabetical order of their names."""
    found = []
    for name in board_names():
        with contextlib.suppress(UserError):
            found.append(load_board(name))
    return found


def load_board(name: str) -> Board:
    """The board of that name, never of a path. Raises UserError that lists the known boards."""
    names = board_names()
    if name not in names:
        raise UserError(f"board {name!r} is unknown; tinyodl knows {', '.join(names)}")
    return read_board(BOARDS / f"{name}.toml")


def find_board(board: str, beside: Path | None = None) -> Board:
    """A board by its name, or by the path of its file, which ends in `.toml`.

    A name that tinyodl does not know is looked for in the folders `boards` beside the model
    `beside`, then in the current folder. The board keeps its file's text in `own`. Raises UserError
    where there is none, where a file has the name of a board that tinyodl has, and as `read_board`.
    """
    if board.endswith(".toml"):
        return _own(Path(board))
    found = own_files(beside).get(board)
    if board in board_names():
        if found:
            _require_own_name(found)
        return load_board(board)
    if found:
        return _own(found)
    searched = " and ".join(str(folder) for folder in _own_folders(beside))
    raise UserError(
        f"board {board!r} is unknown; tinyodl knows {', '.join(board_names())}. A board of your "
        f"own is a file that --board names, such as ./{board}.toml, or one in {searched}"
    )


def own_files(beside: Path | None = None) -> dict[str, Path]:
    """The files of boards beside the model and in the current folder, by the boards' names."""
    found: dict[str, Path] = {}
    for folder in _own_folders(beside):
        for path in sorted(folder.glob("*.toml")):
            if not _is_shipped(path):
                found.setdefault(path.stem, path)
    return found


def _own_folders(beside: Path | None) -> tuple[Path, ...]:
    return tuple(
        dict.fromkeys(p / "boards" for p in (*((beside.parent,) if beside else ()), Path()))
    )


def _is_shipped(path: Path) -> bool:
    """Whether it is one of tinyodl's own files, as in a checkout of it."""
    shipped = BOARDS / path.name
    try:
        return shipped.is_file() and shipped.read_bytes() == path.read_bytes()
    except OSError:
        return False


def _require_own_name(path: Path) -> None:
    if path.stem in board_names():
        raise UserError(
            f"{path}: tinyodl has a board {path.stem!r} already; give the file another name"
        )


def _own(path: Path) -> Board:
    if _is_shipped(path):
        return load_board(path.stem)
    _require_own_name(path)
    return read_board(path).model_copy(update={"own": _text(path)})


def read_board(path: Path) -> Board:
    """A board from a TOML file, whose stem is its name.

    Raises UserError naming the file and the field at fault, or what does not fit the chip.
    """
    return parse_board(_text(path), path.stem, str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error


def parse_board(text: str, name: str, source: str) -> Board:
    """A board from the text of its file. Raises UserError that begins with `source`."""
    try:
        given = tomllib.loads(text)
        if ours := sorted({"name", "kept", "own"} & given.keys()):
            raise UserError(f"{source}: {ours[0]} is not for the file to say; leave it out")
        board = Board.model_validate({"name": name} | given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{source}: {where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:  # also of numbers and nesting beyond all measure
        raise UserError(f"{source}: not valid TOML: {error}") from error
    if board.family in family_names():
        defaults = board.target.settings.defaults
        board = board.model_copy(update={"settings": {**defaults, **board.settings}})
    for mistake in mistakes(board):
        raise UserError(f"{source}: {mistake}")
    return board
