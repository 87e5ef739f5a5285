"""Two projects of different networks and boards, as files, and what a folder holds of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.projects import flat_model
from tinyodl.codegen import render_project, write_project
from tinyodl.compiler import compilation
from tinyodl.files.project_files import OURS, locked_folder
from tinyodl.project.manifest import board_of
from tinyodl.targets.boards import load_board

Files = dict[str, bytes]


def two_projects() -> tuple[Files, Files]:
    """What `compile` writes for each."""
    with tempfile.TemporaryDirectory() as folder:
        first = _files(flat_model(Path(folder) / "flat.onnx"), "host")
        return first, _files(flat_model(Path(folder) / "flat.onnx", 5, 3, 1), "nrf52840_dk")


def _files(model: Path, board: str) -> Files:
    made = compilation(model, load_board(board), {})
    return render_project(made.manifest, made.network, board_of(made.manifest), made.model)


def write(files: Files, out: Path) -> None:
    """The part of `compile` that writes."""
    with locked_folder(out):
        write_project(files, out)


def held(out: Path) -> Files:
    """All files of a project but those that only tinyodl's own writing is about."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.relative_to(out).parts[0] not in OURS
    }


def left_behind(folder: Path) -> list[str]:
    """Names of temporary files."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob(".tinyodl-*"))
