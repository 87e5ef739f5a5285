"""Whether a project's C writes only to the regions of flash allowed by its board's file.

A project compiled by an earlier tinyodl, or received from somebody, has addresses of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

from tinyodl.errors import UserError
from tinyodl.targets.boards import Board

_WRITTEN = r"\{(0x[0-9A-F]+)u, (0x[0-9A-F]+)u\}"
_PROGRAM = r"FLASH \(rx\) : ORIGIN = (0x[0-9A-F]+), LENGTH = (0x[0-9A-F]+)"


def require_regions(project: Path, board: Board) -> None:
    """Compare the project's `config.h` and `link.ld` with `manifest.board_of`, as it was loaded.

    Raises UserError where they differ: the firmware might erase a boot loader.
    """
    if board.on_host:
        return
    for name, pattern, regions in (
        ("config.h", _WRITTEN, board.regions),
        ("link.ld", _PROGRAM, (board.flash,)),
    ):
        path = project / "lib" / "port" / name
        try:
            text = path.read_text("utf-8", errors="replace")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; compile again") from error
        found = [(int(origin, 16), int(size, 16)) for origin, size in re.findall(pattern, text)]
        if found != [(region.origin, region.size) for region in regions]:
            raise UserError(
                f"{path} names other regions of flash than the board {board.name} has with this "
                "tinyodl, and might erase a boot loader; compile the project again"
            )
