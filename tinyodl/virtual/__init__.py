"""Virtual boards: the firmware image that would be flashed, without the hardware.

`boot` runs it on unicorn inside this process: exact instruction counts, modelled cycles, flash
that persists in the project, faults that name the function. `boot_qemu` runs it on QEMU's
netduinoplus2, a second opinion by other people's code; flash is ROM there, so a weight store does
not persist.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinyodl.errors import ToolError, UserError
from tinyodl.files.built_here import checked_program, program_path, require_inside
from tinyodl.targets.boards import Board, readable_boards
from tinyodl.virtual.counts import PHASES, Count
from tinyodl.virtual.image import load_image

if TYPE_CHECKING:
    from tinyodl.virtual.peripheral import MemoryMap
    from tinyodl.virtual.qemu import QemuBoard
    from tinyodl.virtual.unicorn_board import UnicornBoard

__all__ = ["PHASES", "Count", "boards_with", "boot", "boot_qemu"]

STORE_FILE = "flash.bin"


def boot(project: Path, board: Board, *, profiling: bool = False) -> UnicornBoard:
    """The virtual board with the project's firmware, powered on and waiting for the host.

    Its weight store lives in the project's flash.bin. Memory with a file in the chip's model (an
    nRF52840's UICR: uicr.bin) begins with the file's content, if the file exists. With `profiling`
    the store begins empty and is not kept, and the board counts by the places of the network's
    nodes.
    Raises UserError when the board has no virtual one or the firmware was not built here from these
    sources, ToolError when unicorn, capstone or a host compiler is missing, BoardError when the
    firmware faults.
    """
    elf, content = _firmware(project, board, "virtual")
    try:
        from tinyodl.virtual.models import model_of
        from tinyodl.virtual.node_code import places_of
        from tinyodl.virtual.unicorn_board import UnicornBoard
    except ImportError as error:
        raise ToolError(
            f"the virtual board needs the package {error.name}; pip install 'tinyodl[virtual]'"
        ) from error
    image = load_image(elf, content)
    if profiling:
        return UnicornBoard(board, elf, places=places_of(image), image=image)
    found = _found(project, model_of(board.target).memory(board))
    return UnicornBoard(board, elf, store_of(project), image=image, found=found)


def _found(project: Path, memory: MemoryMap) -> dict[int, bytes]:
    """The contents of the chip's memory from files of the project, by address."""
    found = {}
    for area in memory.constants:
        file = project / area.file
        if not area.file or not file.is_file():
            continue
        try:
            contents = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from error
        if len(contents) > area.size:
            raise UserError(f"{file} has {len(contents)} bytes, and {area.name} has {area.size}")
        found[area.address] = contents
    return found


def boot_qemu(project: Path, board: Board) -> QemuBoard:
    """QEMU with the project's firmware. Raises like `boot`; ToolError without qemu-system-arm."""
    from tinyodl.virtual.qemu import QemuBoard

    return QemuBoard(board, *_firmware(project, board, "qemu"))


def store_of(project: Path) -> Path:
    """The file that is the flash of a project's emulated board; UserError if it is elsewhere."""
    store = project / STORE_FILE
    require_inside(project, store)
    return store


def boards_with(kind: str) -> list[str]:
    """The boards that are emulated by "virtual" or "qemu"."""
    return [board.name for board in readable_boards() if kind in board.virtual]


def _firmware(project: Path, board: Board, kind: str) -> tuple[Path, bytes]:
    """The built program's path, and its bytes as they were checked."""
    if kind not in board.virtual:
        others = ", ".join(boards_with(kind))
        raise UserError(f"{board.title} does not run on --port {kind}; boards that do: {others}")
    elf = program_path(project, board)
    if not elf.is_file():
        raise UserError(
            f"{project} holds no built firmware ({elf.relative_to(project)} is missing); "
            f"'tinyodl flash {project} --port {kind}' builds it"
        )
    return elf, checked_program(project, elf)
