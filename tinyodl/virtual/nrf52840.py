"""The nRF52840 around its core: memory, serial line, flash controller, clock, GPIO.

Source: nRF52840 Product Specification v1.7; register offsets are those of its tables. Flash is
ready at once, oscillators start at once.
"""

from __future__ import annotations

from tinyodl.targets.boards import Board
from tinyodl.virtual.nrf52840_serial import Ppi, Timer, Uarte
from tinyodl.virtual.peripheral import (
    Area,
    Machine,
    MemoryMap,
    Misuse,
    Model,
    Peripheral,
    unknown,
)

FLASH_PAGE = 4096

# Factory information: part, variant, package, RAM and flash in KiB (PS, section 4.4.1).
_FICR = {0x010: FLASH_PAGE, 0x014: 256, 0x100: 0x52840, 0x10C: 256, 0x110: 1024}


def _ficr() -> bytes:
    words = bytearray(b"\xff" * 0x1000)
    for offset, value in _FICR.items():
        words[offset : offset + 4] = value.to_bytes(4, "little")
    return bytes(words)


MEMORY = MemoryMap(
    flash=Area("flash", 0x0000_0000, 1024 * 1024),
    ram=(Area("RAM", 0x2000_0000, 256 * 1024),),
    constants=(
        Area("FICR", 0x1000_0000, 0x1000, _ficr()),
        Area("UICR", 0x1000_1000, 0x1000, b"\xff" * 0x1000, file="uicr.bin"),
    ),
)


def memory_map(_: Board) -> MemoryMap:
    return MEMORY


class Nrf52840:
    """The whole chip after a reset."""

    burst = 64  # of the receive ring's 1024

    def __init__(self, machine: Machine) -> None:
        self._ppi = Ppi()
        self._uarte = Uarte(machine, self._ppi)
        self._gpio = _Gpio(machine)
        timers = [Timer(machine, index) for index in range(3)]
        self.peripherals: dict[range, Peripheral] = {
            _page(0x4000_0000): _Clock(),
            _page(0x4000_2000): self._uarte,
            _page(0x4001_E000): _Nvmc(machine),
            _page(0x4001_F000): self._ppi,
            _page(0x5000_0000): self._gpio,
        }
        for index, timer in enumerate(timers):
            self.peripherals[_page(0x4000_8000 + 0x1000 * index)] = timer
        self._ppi.tasks = {
            addresses.start: peripheral for addresses, peripheral in self.peripherals.items()
        }

    def receive(self, data: bytes) -> None:
        self._uarte.receive(data)

    def gather(self, data: bytes) -> None:
        self._uarte.receive(data)

    def level(self, pin: int) -> int:
        return self._gpio.level(pin)

    def interrupts(self) -> int:
        return self._uarte.interrupt() << 2


def _page(address: int) -> range:
    return range(address, address + 0x1000)


class _Nvmc:
    """The flash controller (PS, section 4.3); words only, ready at once."""

    name = "NVMC"
    READY, READYNEXT, CONFIG, ERASEPAGE, ICACHECNF = 0x400, 0x408, 0x504, 0x508, 0x540
    READ_ONLY, WRITE, ERASE = 0, 1, 2

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._config = self.READ_ONLY
        self._cache = 0

    def read(self, offset: int) -> int:
        if offset in (self.READY, self.READYNEXT):
            return 1
        if offset == self.CONFIG:
            return self._config
        if offset == self.ICACHECNF:
            return self._cache
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset == self.CONFIG:
            if value not in (self.READ_ONLY, self.WRITE, self.ERASE):
                raise Misuse(f"sets NVMC.CONFIG to {value}; 0, 1 and 2 are defined")
            self._config = value
            self._machine.program(4 if value == self.WRITE else 0)
        elif offset == self.ERASEPAGE:
            if self._config == self.ERASE:
                self._machine.erase(value & ~(FLASH_PAGE - 1), FLASH_PAGE)
        elif offset == self.ICACHECNF:
            self._cache = value & 0x101
        else:
            raise unknown("writes", offset, self)


# Task: the event that follows, the status register, and its value then.
_OSCILLATORS = {0x000: (0x100, 0x40C, 0x1_0001), 0x008: (0x104, 0x418, 0x1_0001)}


class _Clock:
    """CLOCK and the harmless part of POWER (PS, sections 5.3 and 5.4)."""

    name = "CLOCK"
    _STORED = (0x100, 0x104, 0x400, 0x518, 0x51C, 0x520, 0x578, 0x580)

    def __init__(self) -> None:
        self._stored = dict.fromkeys(self._STORED, 0)
        self._status = {0x40C: 0x1_0000, 0x418: 0}  # HFCLKSTAT: running from the RC oscillator

    def read(self, offset: int) -> int:
        if offset in self._stored:
            return self._stored[offset]
        if offset in self._status:
            return self._status[offset]
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset == 0x400:  # RESETREAS: ones clear
            self._stored[offset] &= ~value
        elif offset in self._stored:
            self._stored[offset] = value
        elif offset in _OSCILLATORS:
            if value & 1:
                event, status, running = _OSCILLATORS[offset]
                self._stored[event] = 1
                self._status[status] = running
        else:
            raise unknown("writes", offset, self)


class _Gpio:
    """P0 and P1 (PS, section 6.9); inputs read 0. The board's marker pins carry the phase."""

    name = "GPIO"
    OUT, OUTSET, OUTCLR, IN, DIR, DIRSET, DIRCLR = 0x504, 0x508, 0x50C, 0x510, 0x514, 0x518, 0x51C
    PIN_CNF = 0x700

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._out = [0, 0]
        self._direction = [0, 0]
        self._configuration = [[2] * 32, [2] * 32]
        settings = machine.board.settings
        self._markers = (settings["mark_0"], settings["mark_1"])

    def read(self, offset: int) -> int:
        port, register = _port(offset)
        if register in (self.OUT, self.OUTSET, self.OUTCLR):
            return self._out[port]
        if register in (self.DIR, self.DIRSET, self.DIRCLR):
            return self._direction[port]
        if register == self.IN:
            return 0
        if self.PIN_CNF <= register < self.PIN_CNF + 128:
            pin = (register - self.PIN_CNF) // 4
            return self._configuration[port][pin] & ~1 | self._direction[port] >> pin & 1
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        port, register = _port(offset)
        if register == self.OUT:
            self._out[port] = value
        elif register == self.OUTSET:
            self._out[port] |= value
        elif register == self.OUTCLR:
            self._out[port] &= ~value
        elif register == self.DIR:
            self._direction[port] = value
        elif register == self.DIRSET:
            self._direction[port] |= value
        elif register == self.DIRCLR:
            self._direction[port] &= ~value
        elif self.PIN_CNF <= register < self.PIN_CNF + 128:
            pin = (register - self.PIN_CNF) // 4
            self._configuration[port][pin] = value
            self._direction[port] = self._direction[port] & ~(1 << pin) | (value & 1) << pin
        else:
            raise unknown("writes", offset, self)
        self._machine.mark(sum(self.level(pin) << bit for bit, pin in enumerate(self._markers)))

    def level(self, pin: int) -> int:
        """1 where the pin, numbered 32 * port + pin, is an output at high level."""
        port, bit = divmod(pin, 32)
        return (self._out[port] & self._direction[port]) >> bit & 1


def _port(offset: int) -> tuple[int, int]:
    """P1 follows P0 at a distance of 0x300."""
    return (1, offset - 0x300) if offset >= 0x800 else (0, offset)


MODEL = Model(memory_map, Nrf52840)
