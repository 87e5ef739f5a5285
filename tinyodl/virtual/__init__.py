"""Virtual boards: the firmware image that would be flashed, without the hardware.

`boot` runs it on unicorn inside this process: exact instruction counts, modelled cycles, flash
that persists in the project, faults that name the function. `boot_qemu` runs it on QEMU's
netduinoplus2, a second opinion by other people's code; flash is ROM there, so a weight store does
not persist.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinyodl.boards import Board, board_names, load_board
from tinyodl.errors import ToolError, UserError
from tinyodl.virtual.counts import PHASES, Count

if TYPE_CHECKING:
    from tinyodl.virtual.qemu import QemuBoard
    from tinyodl.virtual.unicorn_board import UnicornBoard

__all__ = ["PHASES", "Count", "boot", "boot_qemu", "require"]

STORE_FILE = "flash.bin"


def boot(
    project: Path,
    board: Board,
    *,
    store: bool = True,
    places: Mapping[int, str] | None = None,
) -> UnicornBoard:
    """The virtual board with the project's firmware, powered on and waiting for the host.

    Its weight store lives in the project's flash.bin, without `store` it is empty and forgotten.
    `places` is as for UnicornBoard. Raises UserError when the board has no
    virtual one or the firmware is not built, ToolError when unicorn, capstone or a host compiler
    is missing, BoardError when the firmware faults.
    """
    elf = _firmware(project, board, "virtual")
    try:
        from tinyodl.virtual.unicorn_board import UnicornBoard
    except ImportError as error:
        raise ToolError(
            f"the virtual board needs the package {error.name}; pip install 'tinyodl[virtual]'"
        ) from error
    return UnicornBoard(board, elf, project / STORE_FILE if store else None, places)


def boot_qemu(project: Path, board: Board) -> QemuBoard:
    """QEMU with the project's firmware. Raises like `boot`; ToolError without qemu-system-arm."""
    from tinyodl.virtual.qemu import QemuBoard

    return QemuBoard(board, _firmware(project, board, "qemu"))


def require(board: Board, kind: str) -> None:
    """UserError unless the board is emulated by "virtual" or "qemu"."""
    if kind not in board.virtual:
        others = [name for name in board_names() if kind in load_board(name).virtual]
        raise UserError(
            f"{board.title} does not run on --port {kind}; boards that do: {', '.join(others)}"
        )


def _firmware(project: Path, board: Board, kind: str) -> Path:
    require(board, kind)
    elf = project / ".pio" / "build" / board.name / "firmware.elf"
    if not elf.is_file():
        raise UserError(
            f"{project} holds no built firmware ({elf.relative_to(project)} is missing); "
            f"'tinyodl flash {project} --port {kind}' builds it"
        )
    return elf
