"""Connects to a board: the transport for `--port`, and the board's serial device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tinyodl import virtual
from tinyodl.device.transport import SerialTransport, Transport
from tinyodl.errors import UserError
from tinyodl.project import manifest
from tinyodl.targets.boards import Board
from tinyodl.virtual import host

DEFAULT_BAUD = 115200

_BOOT: dict[str | None, Callable[[Path, Board], Transport]] = {
    "virtual": virtual.boot,
    "qemu": virtual.boot_qemu,
    "host": host.boot,
}


def connect(project: Path, port: str | None = None) -> Transport:
    """The line to the board that runs a project's firmware.

    `port` is "virtual", "qemu" or "host" for boards that need no hardware, else a serial device
    or a pyserial URL. Without it: the host build for board "host", else the one serial device
    whose USB ids fit the board. Raises UserError unless exactly one fits, InUseError
    while another has the line, BoardError when it cannot be opened.
    """
    board = manifest.board_of(manifest.load(project))
    if port is None and board.on_host:
        port = "host"
    if port in _BOOT:
        return _BOOT[port](project, board)
    baud = board.serial.baud if board.serial else DEFAULT_BAUD
    return SerialTransport(port or find_port(board), baud)


def find_port(board: Board) -> str:
    """The one serial device whose USB ids fit a board; UserError unless exactly one fits."""
    from serial.tools import list_ports

    found = sorted(list_ports.comports(), key=lambda device: device.device)
    ids = board.serial.usb_ids if board.serial else ()
    fitting = [device.device for device in found if (device.vid, device.pid) in ids]
    if len(fitting) == 1:
        return str(fitting[0])
    options = [f"--port {name}" for name in ("DEVICE", *board.virtual)]
    how = f"choose with {' or '.join(options)}"
    if fitting:
        raise UserError(
            f"{len(fitting)} serial devices may be the {board.title}: {', '.join(fitting)}; {how}"
        )
    others = ", ".join(f"{device.device} ({device.description})" for device in found) or "none"
    raise UserError(f"no serial device is a {board.title} (found: {others}); {how}")
