"""The STM32L476 and STM32L4R5 around their core: memory, and the peripherals of the port.

Sources: RM0351 rev 9 (L476), RM0432 rev 9 (L4R5). Oscillators and PLL are ready at once,
transmitting takes no time, flash is never busy.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyodl.errors import UserError
from tinyodl.targets.boards import Board
from tinyodl.virtual.peripheral import Area, Machine, MemoryMap, Misuse, Model, Peripheral, unknown
from tinyodl.virtual.stm32_pins import Gpio, Outputs
from tinyodl.virtual.stm32_serial import Receiver
from tinyodl.virtual.stm32f4_clock import Gate
from tinyodl.virtual.stm32l4_clock import ClockTree, Power, Rcc
from tinyodl.virtual.stm32l4_flash import FlashController

KIB = 1024


@dataclass(frozen=True)
class _Chip:
    """The differences between the chips; frequencies in Hz, sizes in bytes."""

    memory: MemoryMap
    page: int
    options: int  # FLASH_OPTR as chips leave the factory
    limit: int
    hz_per_wait_state: int
    has_boost: bool


_CHIPS = {
    "stm32l476": _Chip(
        MemoryMap(
            Area("flash", 0x0800_0000, 1024 * KIB),
            (Area("SRAM1", 0x2000_0000, 96 * KIB), Area("SRAM2", 0x1000_0000, 32 * KIB)),
        ),
        page=2 * KIB,
        options=0xFFEF_F8AA,
        limit=80_000_000,
        hz_per_wait_state=16_000_000,
        has_boost=False,
    ),
    "stm32l4r5": _Chip(
        MemoryMap(
            Area("flash", 0x0800_0000, 2048 * KIB),
            (Area("SRAM", 0x2000_0000, 640 * KIB),),
        ),
        page=4 * KIB,
        options=0xFFEF_F8AA,  # with DBANK set
        limit=120_000_000,
        hz_per_wait_state=20_000_000,
        has_boost=True,
    ),
}


def _chip(board: Board) -> _Chip:
    for name, chip in _CHIPS.items():
        if board.chip.lower().startswith(name):
            return chip
    raise UserError(
        f"there is no virtual board with the chip {board.chip!r}; "
        f"of the STM32L4 there are {', '.join(_CHIPS)}"
    )


def memory_map(board: Board) -> MemoryMap:
    return _chip(board).memory


class Stm32l4:
    """The whole chip after a reset."""

    burst = 32

    def __init__(self, machine: Machine) -> None:
        chip = _chip(machine.board)
        power = Power(chip.has_boost)
        tree = ClockTree(
            board_hz=machine.board.clock_hz,
            limit_hz=chip.limit,
            boost_above_hz=80_000_000,
            hz_per_wait_state=chip.hz_per_wait_state,
        )
        rcc = Rcc(tree, power)
        flash = FlashController(machine, chip.memory.flash, chip.page, chip.options)
        rcc.flash = flash
        self._usart2 = Uart("USART2", machine, rcc, fractions=1, least=16)
        self._lpuart1 = Uart("LPUART1", machine, rcc, fractions=256, least=0x300)
        ahb2, apb2 = Gate(rcc, Rcc.AHB2ENR), Gate(rcc, Rcc.APB2ENR)
        apb1, apb1_2 = Gate(rcc, Rcc.APB1ENR1), Gate(rcc, Rcc.APB1ENR2)
        self.peripherals: dict[range, Peripheral] = {
            _kib(0x4000_4400): apb1.behind(17, self._usart2),
            _kib(0x4000_7000): apb1.behind(28, power),
            _kib(0x4000_8000): apb1_2.behind(0, self._lpuart1),
            _kib(0x4001_0000): apb2.behind(0, _SystemConfiguration()),
            _kib(0x4002_1000): rcc,
            _kib(0x4002_2000): flash,
        }
        settings = machine.board.settings
        self._outputs = Outputs(machine, (settings["mark_0"], settings["mark_1"]))
        for index, letter in enumerate("ABCDEFGH"):
            gpio: Peripheral = Gpio(f"GPIO{letter}", self._outputs, index)
            if letter == "G":
                gpio = _SuppliedGpio(gpio, power)
            self.peripherals[_kib(0x4800_0000 + 0x400 * index)] = ahb2.behind(index, gpio)

    def receive(self, data: bytes) -> None:
        """The line leads to both UARTs; the firmware turns one of them on."""
        for byte in data:
            self._usart2.receive(byte)
            self._lpuart1.receive(byte)

    def gather(self, data: bytes) -> None:
        self._usart2.gather(data)
        self._lpuart1.gather(data)

    def level(self, pin: int) -> int:
        return self._outputs.level(pin)

    def interrupts(self) -> int:
        return self._usart2.interrupt() << 38 | self._lpuart1.interrupt() << 70


def _kib(address: int) -> range:
    return range(address, address + KIB)


class _SystemConfiguration:
    """SYSCFG_MEMRMP: the banks of flash are in their usual order."""

    name = "SYSCFG"

    def read(self, offset: int) -> int:
        if offset == 0:
            return 0
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        raise unknown("writes", offset, self)


@dataclass(frozen=True)
class _SuppliedGpio:
    """Port G, whose supply must be on before its pins are anything."""

    gpio: Peripheral
    power: Power

    @property
    def name(self) -> str:
        return self.gpio.name

    def read(self, offset: int) -> int:
        return self.gpio.read(offset)

    def write(self, offset: int, value: int) -> None:
        if not self.power.supplies_port_g:
            raise Misuse("uses port G before PWR_CR2.IOSV says that VDDIO2 is there")
        self.gpio.write(offset, value)


class Uart(Receiver):
    """USART2 as UART, and LPUART1, without DMA and FIFO (RM0432, sections 44.8 and 45.7)."""

    CR1, CR2, CR3, BRR, ISR, ICR, RDR, TDR = 0x00, 0x04, 0x08, 0x0C, 0x1C, 0x20, 0x24, 0x28
    CONTROL, UE = CR1, 1
    MODELLED_CR1 = UE | Receiver.RE | Receiver.TE | 7 << 5  # and the three interrupts

    def __init__(self, name: str, machine: Machine, rcc: Rcc, fractions: int, least: int) -> None:
        """The baud rate is `fractions` times the bus clock over BRR, which is `least` at least."""
        super().__init__(name, machine, (self.BRR, self.CR1, self.CR2, self.CR3))
        self._rcc = rcc
        self._fractions = fractions
        self._least = least

    def read(self, offset: int) -> int:
        self._lose_patience()
        if offset == self.ISR:
            return self._status
        if offset == self.RDR:
            return self._take()
        if offset in self._stored:
            return self._stored[offset]
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset == self.ICR:
            self._status &= ~(value & (self.ORE | self.TC))
        elif offset == self.TDR:
            if self._on(self.TE):
                self._require_fitting_baud()
                self._machine.transmit(bytes((value & 0xFF,)))
        elif offset in self._stored:
            self._store(offset, value)
        else:
            raise unknown("writes", offset, self)

    def _store(self, offset: int, value: int) -> None:
        if offset == self.CR1 and value & ~self.MODELLED_CR1:
            raise Misuse(f"sets CR1 of {self.name} to {value:#x}; only 8N1 is modelled")
        if offset in (self.CR2, self.CR3) and value:
            raise Misuse(f"sets CR2 or CR3 of {self.name}, which are not modelled")
        if offset == self.BRR and self._stored[self.CR1] & self.UE:
            raise Misuse(f"sets BRR of {self.name} while it is on, which has no effect")
        self._stored[offset] = value
        if self._on(self.RE):
            self._require_fitting_baud()

    def _require_fitting_baud(self) -> None:
        divider = self._stored[self.BRR]
        baud = self._rcc.bus_hz() * self._fractions / max(divider, 1)
        self._require_baud(baud, divider, self._least)


MODEL = Model(memory_map, Stm32l4)
