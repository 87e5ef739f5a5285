"""Which line `--port` means, and which serial device is the board."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.device import bench
from tinyodl.device import Client, connect
from tinyodl.device.connect import find_port
from tinyodl.device.transport import SerialTransport
from tinyodl.errors import BoardError, LineLostError, UserError
from tinyodl.files.built_here import remember_program, sources_digest
from tinyodl.project import manifest as mf
from tinyodl.targets.boards import load_board
from tinyodl.virtual import host

BOARD = load_board("nrf52840_dk")


def project(folder: Path, board: str) -> Path:
    manifest = bench.manifest().model_copy(update={"board": board})
    (folder / mf.FILE_NAME).write_text(mf.dump(manifest))
    return folder


def plug_in(monkeypatch: pytest.MonkeyPatch, *ids: tuple[int, int] | None) -> None:
    """Serial devices with these USB ids; None for one that is not on USB."""
    devices = [
        SimpleNamespace(
            device=f"/dev/tty{at}",
            description=f"line {at}",
            vid=usb[0] if usb else None,
            pid=usb[1] if usb else None,
        )
        for at, usb in enumerate(ids)
    ]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: devices)


def test_the_one_device_that_fits_is_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BOARD.serial is not None
    plug_in(monkeypatch, None, (0x0403, 0x6001), BOARD.serial.usb_ids[-1])
    assert find_port(BOARD) == "/dev/tty2"


def test_several_that_fit_are_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BOARD.serial is not None
    plug_in(monkeypatch, BOARD.serial.usb_ids[0], BOARD.serial.usb_ids[0])
    with pytest.raises(
        UserError, match=r"2 serial devices may be .*: /dev/tty0, /dev/tty1; choose with --port"
    ):
        find_port(BOARD)


def test_none_that_fits_names_what_was_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plug_in(monkeypatch, None)
    with pytest.raises(
        UserError,
        match=r"no serial device is a Nordic nRF52840 DK \(found: /dev/tty0 \(line 0\)\); "
        r"choose with --port DEVICE or --port virtual",
    ):
        connect(project(tmp_path, BOARD.name))
    plug_in(monkeypatch)
    with pytest.raises(UserError, match=r"found: none"):
        find_port(BOARD)


def test_a_device_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="/dev/nothing-here cannot be opened"):
        connect(project(tmp_path, BOARD.name), "/dev/nothing-here")


def test_a_folder_that_is_no_project_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a tinyodl project"):
        connect(tmp_path, "host")


def test_the_host_build_is_the_default_for_board_host(program: Path, tmp_path: Path) -> None:
    folder = project(tmp_path, "host")
    (folder / host.PROGRAM).parent.mkdir(parents=True)
    shutil.copy(program, folder / host.PROGRAM)
    remember_program(folder, folder / host.PROGRAM, sources_digest(folder))
    client = Client(connect(folder), mf.load(folder))
    client.save()
    client.close()
    client = Client(connect(folder, "host"), mf.load(folder))
    assert client.hello().generation == 1
    client.close()


def test_a_host_build_that_was_not_made_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has not been built; run `tinyodl flash"):
        connect(project(tmp_path, "host"))
    with pytest.raises(UserError, match="is for board nrf52840_dk"):
        connect(project(tmp_path, BOARD.name), "host")


def test_a_program_that_does_not_start_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="does not start"):
        host.HostTransport(tmp_path / "missing")


def test_a_pyserial_url_reaches_a_board(library: Path) -> None:
    """A board behind a TCP socket, as an emulator or a serial server offers it."""
    server = bench.Server(library)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as line:
                while data := line.recv(4096):
                    line.sendall(server.exchange(data))

        thread = threading.Thread(target=serve)
        thread.start()
        transport = SerialTransport(f"socket://127.0.0.1:{listener.getsockname()[1]}", 115200)
        client = Client(transport, bench.manifest())
        assert client.hello().board == "bench"
        assert client.infer([1.0, 2.0, 3.0, 4.0]).shape == (1, 3)
        assert transport.read(0.01) == b""
        client.close()
        thread.join()
    with pytest.raises(BoardError, match="the line is gone"):
        transport.write(b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudoterminals")
def test_a_line_that_takes_no_bytes_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads at the other end: a write must not wait for ever."""
    import pty

    monkeypatch.setattr("tinyodl.device.transport.WRITE_SECONDS", 0.1)
    ends = pty.openpty()
    line = SerialTransport(os.ttyname(ends[1]), 115200)
    with pytest.raises(LineLostError, match="the line is gone"):
        for _ in range(1000):
            line.write(bytes(4096))
    line.close()
    for end in ends:
        os.close(end)
