"""A fault on the chip ends in a state that can be seen, not in a hang: judged in QEMU, which takes
the processor's exceptions as silicon does, by a look at RAM through its monitor."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tests.conftest import require_tool
from tests.ports.conftest import Builder

PRECISE_BUS_FAULT, STACKING_FAULT = 1 << 9, 1 << 12  # SCB_CFSR: PRECISERR, STKERR


class Machine:
    """QEMU's serial line, and its monitor to look into memory."""

    def __init__(self, line: socket.socket, monitor: socket.socket) -> None:
        self._line, self._monitor = line, monitor

    def send_when_awake(self, data: bytes) -> None:
        self._line.settimeout(0.2)
        for _ in range(100):
            self._line.sendall(b"h")
            try:
                if self._line.recv(64):
                    break
            except TimeoutError:
                continue
        self._line.sendall(data)

    def words(self, address: int, count: int) -> list[int]:
        self._monitor.sendall(f"xp /{count}xw {address:#x}\n".encode())
        text = ""
        while len(found := re.findall(r"(?<=: )(?:0x[0-9a-f]{8} ?)+", text)) < 1:
            text += self._monitor.recv(4096).decode()
        return [int(word, 16) for word in found[0].split()]


def symbol(elf: Path, name: str) -> tuple[int, int]:
    """Address and size."""
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        found = table.get_symbol_by_name(name)
        assert found
        return int(found[0]["st_value"]) & ~1, int(found[0]["st_size"])


@contextmanager
def qemu(elf: Path, folder: Path) -> Iterator[Machine]:
    """QEMU comes to sockets that listen already, so there is nothing to wait for."""
    with listening(folder / "line") as line_end, listening(folder / "monitor") as monitor_end:
        command = ["qemu-system-arm", "-M", "netduinoplus2", "-kernel", str(elf)]
        command += ["-display", "none", "-serial", f"unix:{folder / 'line'}"]
        process = subprocess.Popen([*command, "-monitor", f"unix:{folder / 'monitor'}"])
        try:
            with line_end.accept()[0] as line, monitor_end.accept()[0] as monitor:
                monitor.settimeout(5)
                yield Machine(line, monitor)
        finally:
            process.kill()
            process.wait()


def listening(path: Path) -> socket.socket:
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(10)
    end.bind(str(path))
    end.listen(1)
    return end


def fault_record(machine: Machine, elf: Path) -> tuple[int, int, int]:
    """pc, lr and status, once the handler has written them."""
    address, size = symbol(elf, "port_fault_record")
    assert size == 12
    while True:  # pytest-timeout ends it where the handler never runs
        pc, lr, status = machine.words(address, 3)
        if status:
            return pc, lr, status
        time.sleep(0.1)


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_a_stray_store_is_recorded_with_its_place(
    echo: Builder, compiler: str, tmp_path: Path
) -> None:
    require_tool("qemu-system-arm")
    elf = echo("netduinoplus2", compiler).elf
    with qemu(elf, tmp_path) as machine:
        machine.send_when_awake(b"f" + (0x60000000).to_bytes(4, "little"))
        pc, _, status = fault_record(machine, elf)
    start, size = symbol(elf, "main")
    assert start <= pc < start + size
    assert status & PRECISE_BUS_FAULT


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_a_stack_overflow_is_recorded_although_there_is_no_stack_left(
    echo: Builder, compiler: str, tmp_path: Path
) -> None:
    require_tool("qemu-system-arm")
    elf = echo("netduinoplus2", compiler).elf
    with qemu(elf, tmp_path) as machine:
        machine.send_when_awake(b"o")
        pc, _, status = fault_record(machine, elf)
    assert pc == 0, "what lies outside of the stack is not taken for a place"
    assert status & STACKING_FAULT
