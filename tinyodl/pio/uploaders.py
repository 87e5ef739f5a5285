"""Uploading without PlatformIO's tool packages: with an uploader that is on PATH."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinyodl.errors import ToolError
from tinyodl.targets.boards import Board

_PROBES = {"jlink": "jlink.cfg", "stlink": "stlink.cfg", "cmsis-dap": "cmsis-dap.cfg"}

# Through a board's own boot loader, and so through no probe.
_BOOT_LOADERS = {"sam-ba": "bossac", "dfu": "dfu-util"}


def comports() -> list[Any]:
    """The serial devices there are."""
    from serial.tools.list_ports import comports as found

    return list(found())


def standin_upload(project: Path, board: Board) -> list[str]:
    """The command that writes the project's firmware to the board.

    Raises ToolError that names what to install, or says how to start a boot loader.
    """
    folder = (project / ".pio" / "build" / board.name).resolve()
    elf, image = str(folder / "firmware.elf"), str(folder / "firmware.bin")
    protocol = board.platformio.upload_protocol or ""
    if tool := _BOOT_LOADERS.get(protocol):
        path = _require(tool, board)
        if protocol == "dfu":
            return [path, "-a", "0", "-s", f"{board.flash.origin:#x}:leave", "-D", image]
        port = _boot_loader_port(board)
        return [path, "--port", Path(port).name, "--write", "--erase", "-U", "--reset", image]
    if protocol not in _PROBES:
        raise ToolError(
            f"tinyodl does not upload to {board.name} by itself, because it knows no tool for "
            f"upload_protocol = {protocol!r}; let PlatformIO fetch its own once with "
            f"`pio run -d {project} -t upload`"
        )
    if path := shutil.which("openocd") or "":
        return [
            path,
            *("-f", f"interface/{_PROBES[protocol]}", "-c", "transport select " + _wire(protocol)),
            *("-f", f"target/{board.target.openocd}"),
            *("-c", f"program {{{elf}}} verify reset exit"),
        ]
    if find_spec("pyocd"):
        target = board.silicon.pyocd
        return [sys.executable, "-m", "pyocd", "flash", "-W", "-t", target, elf]
    raise ToolError(
        f"nothing to upload to {board.name} with: neither openocd on PATH nor pyocd in this "
        "Python; pip install pyocd, or install openocd, or let PlatformIO fetch its own uploader "
        f"once with `pio run -d {project} -t upload`"
    )


def _boot_loader_port(board: Board) -> str:
    ids = board.platformio.upload_usb_ids
    found = [port.device for port in comports() if (port.vid, port.pid) in ids]
    if len(found) == 1:
        return str(found[0])
    wanted = " or ".join(f"{vendor:04x}:{product:04x}" for vendor, product in ids)
    if found:
        raise ToolError(
            f"{board.name}: several boot loaders answer ({', '.join(found)}, USB {wanted}); "
            "leave one of them plugged in"
        )
    raise ToolError(
        f"{board.name}: no boot loader found (USB {wanted}); plug in the board's own USB socket "
        "and double-tap its reset button"
    )


def _wire(protocol: str) -> str:
    return "hla_swd" if protocol == "stlink" else "swd"


def _require(tool: str, board: Board) -> str:
    path = shutil.which(tool)
    if path is None:
        raise ToolError(
            f"{tool}, which uploads to {board.name}, is not on PATH; install it, or let PlatformIO "
            "fetch its own once with `pio run -t upload` in the project"
        )
    return path
