"""The writer of a PlatformIO project: every file as bytes first, then all of them at once.

platformio.ini  tinyodl.json  plan.toml  model.onnx
src/        main.c
lib/net/    the network: generated, and the kernels it uses
lib/device/ the device's half of the protocol
lib/port/   the board's chip family; for boards link.ld and link.py, a PlatformIO script
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tinyodl import __version__, firmware
from tinyodl.boards import Board
from tinyodl.codegen.environment import environment
from tinyodl.codegen.network import Network
from tinyodl.errors import UserError
from tinyodl.manifest import FILE_NAME, MODEL_NAME, Manifest, dump
from tinyodl.resources import TEMPLATES
from tinyodl.update_plan import dump_plan


def render_project(
    manifest: Manifest, network: Network, board: Board, model: bytes
) -> dict[str, bytes]:
    """All files of the project by relative path, the same bytes for the same arguments."""
    files: dict[str, bytes] = {}
    for folder, target in (
        (TEMPLATES / "project", ""),
        (TEMPLATES / "device", "lib/device/"),
        *((TEMPLATES / "ports" / name, "lib/port/") for name in board.port_folders),
    ):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            files[target + name.removesuffix(".j2")] = _render(path, manifest, board)
    for path in sorted((TEMPLATES / "ports").glob("*.*")):
        files[f"lib/port/{path.name.removesuffix('.j2')}"] = _render(path, manifest, board)
    for name, text in network.files.items():
        files[f"lib/net/{name}"] = text.encode()
    files[FILE_NAME] = dump(manifest).encode()
    files["plan.toml"] = dump_plan(manifest.plan).encode()
    files[MODEL_NAME] = model
    return dict(sorted(files.items()))


def write_project(files: dict[str, bytes], out: Path) -> None:
    """Write the project to `out`; on any failure nothing half-written stays behind.

    `out` may be an older project: its generated files are replaced, while what a board saved
    (`flash.bin`), builds and runs are left alone. Raises UserError when `out` is something else or
    cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a directory for the project with -o")
    if out.is_dir() and any(out.iterdir()) and not (out / FILE_NAME).is_file():
        raise UserError(f"{out} is not empty and holds no tinyodl project; name another with -o")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    try:
        staging.chmod(0o777 & ~_umask())
        for name, content in files.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _move_into_place(staging, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move_into_place(staging: Path, out: Path) -> None:
    if not out.exists():
        staging.rename(out)
        return
    for entry in sorted(staging.iterdir()):
        target = out / entry.name
        if entry.is_dir() and target.exists():
            shutil.rmtree(target)
        entry.replace(target)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _render(path: Path, manifest: Manifest, board: Board) -> bytes:
    if path.suffix != ".j2":
        return path.read_bytes()
    template = environment().get_template(path.relative_to(TEMPLATES).as_posix())
    text = template.render(board=board, manifest=manifest, firmware=firmware, version=__version__)
    return text.encode()
