"""Stand-ins for what PlatformIO would fetch from its registry, where it cannot be reached.

A private core directory with small files only: SCons from PyPI under the name of PlatformIO's
`tool-scons`, and platforms with the names of the official ones. Its name is a digest of its
content, so it is written once, never changed, and safe to share between parallel builds.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from tinyodl.errors import ToolError
from tinyodl.files.folders import cache_directory
from tinyodl.files.whole_files import temporary_folder
from tinyodl.targets.boards import Board, readable_boards

_SCONS = """\
from SCons.Script.Main import main

main()
"""

_PLATFORM = """\
from platformio.public import PlatformBase


class {name}Platform(PlatformBase):
    def is_embedded(self):
        return True
"""


def core_directory(own: Board | None = None) -> Path:
    """The private core directory, made on the first call. Raises ToolError if it cannot be.

    It has the boards that tinyodl has, and the user's `own`.
    """
    files = core_files(own) if own else core_files()
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    core = cache_directory() / "platformio" / digest.hexdigest()[:16]
    if not core.is_dir():
        _write_once(core, files)
    return core


def core_files(own: Board | None = None) -> dict[str, bytes]:
    """Every file of the core directory by its relative path."""
    texts = {
        # Without it, every call after an upgrade of PlatformIO would ask the registry.
        "appstate.json": json.dumps({"last_version": version("platformio")}),
        "packages/tool-scons/.piopm": _package("tool", "tool-scons", _scons_version()),
        "packages/tool-scons/scons.py": _SCONS,
    }
    builder = Path(__file__).with_name("standin_builder.py").read_text("utf-8")
    boards = [*readable_boards(), *([own] if own else [])]
    for name in sorted({b.platformio.platform for b in boards} - {"native"}):
        folder = f"platforms/{name}"
        texts[f"{folder}/.piopm"] = _package("platform", name, "1.0.0")
        texts[f"{folder}/platform.json"] = json.dumps(
            {
                "name": name,
                "version": "1.0.0",
                "title": f"Stand-in for {name}",
                "description": "Made by tinyodl to build framework-less projects offline",
                "packages": {},
            },
            indent=1,
        )
        texts[f"{folder}/platform.py"] = _PLATFORM.format(name=name.capitalize())
        texts[f"{folder}/builder/main.py"] = builder
        for board in boards:
            if board.platformio.platform == name:
                texts[f"{folder}/boards/{board.platformio.board}.json"] = _board(board)
    return {name: text.encode() for name, text in sorted(texts.items())}


def _package(kind: str, name: str, number: str) -> str:
    """PlatformIO's record of an installed package."""
    spec = {
        "owner": "platformio",
        "id": None,
        "name": name,
        "requirements": None,
        "uri": None,
    }
    return json.dumps({"type": kind, "name": name, "version": number, "spec": spec})


def _scons_version() -> str:
    """The version that PlatformIO insists on; any SCons from PyPI does the work."""
    from platformio.dependencies import get_core_dependencies

    wanted: str = get_core_dependencies()["tool-scons"]
    return wanted.lstrip("~^=")


def _board(board: Board) -> str:
    return json.dumps(
        {
            "name": board.title,
            "url": "",
            "vendor": "",
            "frameworks": [],
            "build": {
                "cpu": board.target.cpu,
                "f_cpu": f"{board.clock_hz}L",
                "mcu": board.chip,
            },
            "upload": {
                "maximum_size": board.flash.size,
                "maximum_ram_size": board.ram.size,
                "protocol": board.platformio.upload_protocol,
            },
        },
        indent=1,
    )


def _write_once(core: Path, files: dict[str, bytes]) -> None:
    try:
        core.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(core.parent) as scratch:
            staging = scratch / core.name
            for name, content in files.items():
                path = staging / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            try:
                staging.rename(core)
            except OSError:
                if not core.is_dir():  # otherwise another process was faster
                    raise
    except OSError as error:
        raise ToolError(
            f"{core.parent}: cannot be written: {error.strerror}; "
            "set XDG_CACHE_HOME to a directory that can"
        ) from error
