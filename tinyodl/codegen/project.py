"""The writer of a PlatformIO project: every file as bytes first, then all of them at once.

platformio.ini  tinyodl.json  plan.toml  model.onnx
boards/     the board's file, where it is the user's own
src/        main.c
lib/net/    the network: generated, and the kernels it uses
lib/device/ the device's half of the protocol
lib/port/   the board's chip family; for boards link.ld and link.py, a PlatformIO script
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tinyodl import __version__
from tinyodl.codegen.environment import environment
from tinyodl.codegen.network import Network
from tinyodl.errors import UserError
from tinyodl.files.project_files import OURS, STAGED, replace_files
from tinyodl.project.manifest import FILE_NAME, MODEL_NAME, Manifest, dump
from tinyodl.project.plan_file import dump_plan
from tinyodl.resources import TEMPLATES
from tinyodl.targets import chips, firmware
from tinyodl.targets.boards import Board
from tinyodl.targets.chips import FAMILY_FILE


def render_project(
    manifest: Manifest, network: Network, board: Board, model: bytes
) -> dict[str, bytes]:
    """All files of the project by relative path, the same bytes for the same arguments."""
    files: dict[str, bytes] = {}
    for folder, target in (
        (TEMPLATES / "project", ""),
        (TEMPLATES / "device", "lib/device/"),
        *((chips.PORTS / name, "lib/port/") for name in board.target.folders),
    ):
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FAMILY_FILE):
            name = path.relative_to(folder).as_posix()
            files[target + name.removesuffix(".j2")] = _render(path, manifest, board)
    for path in sorted(chips.PORTS.glob("*.*")):
        files[f"lib/port/{path.name.removesuffix('.j2')}"] = _render(path, manifest, board)
    for name, text in network.files.items():
        files[f"lib/net/{name}"] = text.encode()
    files[FILE_NAME] = dump(manifest).encode()
    if board.own:
        files[f"boards/{board.name}.toml"] = board.own.encode()
    files["plan.toml"] = dump_plan(manifest.plan).encode()
    files[MODEL_NAME] = model
    return dict(sorted(files.items()))


def write_project(files: dict[str, bytes], out: Path) -> None:
    """Write the project to `out`, which the caller has locked: all of it or nothing.

    `out` may be an older project: its generated files are replaced; a board's saved flash
    (`flash.bin`), builds and runs are kept. Raises UserError when `out` is something else or cannot
    be written.
    """
    if not (out / FILE_NAME).is_file() and any(e.name not in OURS for e in out.iterdir()):
        raise UserError(f"{out} is not empty and holds no tinyodl project; name another with -o")
    try:
        replace_files(files, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(out / STAGED, ignore_errors=True)


def _render(path: Path, manifest: Manifest, board: Board) -> bytes:
    if path.suffix != ".j2":
        return path.read_bytes()
    template = environment().from_string(path.read_text("utf-8"))
    text = template.render(board=board, manifest=manifest, firmware=firmware, version=__version__)
    return text.encode()
