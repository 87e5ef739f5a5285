"""The linked firmware of a project: its sizes, and the compiler's name from its ELF."""

from __future__ import annotations

from pathlib import Path

from elftools.elf.elffile import ELFFile

from tinyodl.pio.measure import measure
from tinyodl.runs.record import Linked
from tinyodl.targets.boards import Board


def linked_firmware(project: Path, board: Board) -> Linked | None:
    """The project's firmware; None when it was not built here. ToolError if it is damaged."""
    elf = project / ".pio" / "build" / board.name / "firmware.elf"
    if not elf.is_file():
        return None
    build = measure(elf, "")
    with elf.open("rb") as file:
        comment = ELFFile(file).get_section_by_name(".comment")
        names = comment.data().split(b"\0") if comment else []
    # The compilers of every object that was linked in; the C library's come last.
    compiler = next((name.decode(errors="replace") for name in names if name), "unknown compiler")
    return Linked(ram_bytes=build.ram_bytes, flash_bytes=build.flash_bytes, compiler=compiler)
