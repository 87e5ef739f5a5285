"""Whether a board's description fits its chip: a wrong one may erase a boot loader.

A board with an erased boot loader does not start again, and only a debug probe can write to it. So
every region of flash written by tinyodl is compared with all others, with the chip, and with the
board's possible boot loaders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from tinyodl.targets import chips
from tinyodl.targets.chips import FAMILIES, Chip, Region, Settings, all_chips, emulated_by

if TYPE_CHECKING:
    from tinyodl.targets.boards import Board

_VECTORS = 512  # VTOR: a power of two over 4 * (16 + interrupts) bytes
_STACK_ALIGNMENT = 8
_EMULATORS = ("virtual", "qemu")

Named = tuple[str, Region]


def mistakes(board: Board) -> Iterator[str]:
    """The faults of the board, most basic first; each sentence ends in a remedy."""
    yield from _identity(board)
    family = FAMILIES.get(board.family)
    if family is None or board.chip not in family.chips:
        return
    yield from _emulators(board, board.silicon)
    yield from _ram(board, board.silicon)
    yield from flash_mistakes(board)
    yield from _settings(board, board.silicon, family.settings)


def flash_mistakes(board: Board) -> Iterator[str]:
    """The same for the regions of flash alone, of a board whose chip is known."""
    yield from _inside(board, board.silicon)
    yield from _aligned(board, board.silicon)
    yield from _apart(board, board.silicon)


def _identity(board: Board) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", board.name):
        yield "the file's name, which is the board's, has letters, digits, - and _ only; rename it"
    known = all_chips()
    if board.chip not in known:
        yield (
            f"chip = {board.chip!r} is unknown; tinyodl knows {', '.join(known)}. A new chip of a "
            "known family goes into its templates/ports/FAMILY/family.toml"
        )
        return
    family = known[board.chip]
    if board.family not in FAMILIES:
        yield (
            f"family = {board.family!r} is not a chip family that tinyodl has C for; there are "
            f"{', '.join(FAMILIES)}"
        )
    elif board.family != family.name:
        yield f'family = {board.family!r}, but the chip {board.chip} needs family = "{family.name}"'
    elif board.cpu and board.cpu not in (family.core, family.cpu, family.cpu + "f"):
        yield f"cpu = {board.cpu!r}, but the chip {board.chip} has a {family.cpu}; leave cpu out"
    for folder in family.folders:
        if not any((chips.PORTS / folder).glob("*.c")):
            have = sorted(path.parent.name for path in chips.PORTS.glob("*/*.c"))
            yield (
                f"family = {family.name!r} needs the folder templates/ports/{folder} with its C, "
                f"which is missing; there are {', '.join(dict.fromkeys(have))}"
            )


def _emulators(board: Board, chip: Chip) -> Iterator[str]:
    for kind in board.virtual:
        if kind not in _EMULATORS:
            yield f"virtual names {kind!r}; there are {' and '.join(_EMULATORS)}"
        elif kind not in chip.emulators:
            yield (
                f"virtual names {kind!r}, which has no model of the chip {board.chip}, only of "
                f"{', '.join(emulated_by(kind))}; leave it out"
            )


def _ram(board: Board, chip: Chip) -> Iterator[str]:
    ram = board.ram
    if not chip.ram.holds(ram):
        yield f"[ram] is {_span(ram)}, but the RAM of {board.chip} is {chip.ram}; stay inside"
    elif ram.origin % _STACK_ALIGNMENT or ram.size % _STACK_ALIGNMENT:
        yield f"[ram] is {ram}; origin and size must be multiples of {_STACK_ALIGNMENT}"


def _written(board: Board) -> list[Named]:
    """The regions tinyodl writes: the program, and the regions erased by the program itself."""
    slots = board.regions[: -len(board.kept)]
    kept = zip(("the features", "the best parameters"), board.kept, strict=True)
    return [
        ("the program ([flash])", board.flash),
        *((f"slot {number} of [store]", slot) for number, slot in enumerate(slots, 1)),
        *((name, region) for name, region in kept if region.size != 0),
    ]


def _boot_loaders(board: Board) -> list[Named]:
    return [(f"boot loader {b.name!r}", region) for b in board.boot_loaders for region in b.regions]


def _inside(board: Board, chip: Chip) -> Iterator[str]:
    for name, region in _written(board) + _boot_loaders(board):
        if not chip.flash.holds(region):
            yield (
                f"{name} is {_span(region)}, but the flash of {board.chip} is {chip.flash}; "
                "stay inside"
            )


def _aligned(board: Board, chip: Chip) -> Iterator[str]:
    store, unit = board.store, chip.erase_bytes
    if board.on_host:
        return
    if store is None:
        yield "[store] is missing: the two slots for learned weights"
        return
    if store.erase_bytes != unit:
        yield f"[store] erase_bytes = {store.erase_bytes:#x}, but {board.chip} erases {unit:#x}"
    if board.flash.origin % _VECTORS:
        yield f"[flash] origin = {board.flash.origin:#x} must be a multiple of {_VECTORS:#x}"
    for name, region in _written(board):
        if not (chip.is_boundary(region.origin) and chip.is_boundary(region.end)):
            yield (
                f"{name} is {region}, but flash is erased in whole units "
                f"({_units(chip)}); begin and end with one"
            )
        elif region is not board.flash and not all(
            chip.unit(at) == Region(origin=at, size=unit)
            for at in range(region.origin, region.end, unit)
        ):
            yield (
                f"{name} is {region}, where units are of another size than {unit:#x} bytes "
                f"({_units(chip)}); move it behind them"
            )


def _apart(board: Board, chip: Chip) -> Iterator[str]:
    """The flash in front of the program counts as its starter, known by name or not."""
    front = Region(origin=chip.flash.origin, size=board.flash.origin - chip.flash.origin)
    taken = [("what starts the program, in front of [flash],", front), *_boot_loaders(board)]
    written = _written(board)
    for (name, region), (other, another) in combinations(written, 2):
        if region.overlaps(another):
            yield f"{name} is {region}, and {other} is {another}: they overlap; move one of them"
    for name, region in written:
        for other, another in taken:
            if region.overlaps(another):
                yield (
                    f"{name} is {region}, and {other} is {another}: they overlap, and a board "
                    f"without its boot loader does not start again; move {name}"
                )


def _settings(board: Board, chip: Chip, asked: Settings) -> Iterator[str]:
    known = (*asked.pins, *asked.numbers)
    for name in board.settings:
        if name not in known:
            yield f"[settings] {name!r} is unknown; {board.family} has {', '.join(known) or 'none'}"
    missing = [name for name in known if name not in board.settings]
    if missing:
        yield f"[settings] lacks {', '.join(missing)}"
        return
    for name, (least, most) in asked.numbers.items():
        if not least <= board.settings[name] <= most:
            yield f"[settings] {name} = {board.settings[name]} is not in {least} to {most}"
    used: dict[int, str] = {}
    for name in asked.pins:
        pin = board.settings[name]
        if not chip.has_pin(pin):
            have = ", ".join(f"{first} to {last}" for first, last in chip.pins)
            yield (
                f"[settings] {name} = {pin} is no pin of {board.chip}, which has {have} "
                f"({asked.pins_per_port} * port + pin)"
            )
        elif used.setdefault(pin, name) != name:
            yield f"[settings] {name} = {pin} is the pin of {used[pin]} already; name another"


def _span(region: Region) -> str:
    """The text for a region, also for one of no or negative size."""
    return str(region) if region.size > 0 else f"{region.size} bytes from {region.origin:#x} on"


def _units(chip: Chip) -> str:
    return ", then ".join(f"{count} of {size:#x} bytes" for count, size in chip.units)
