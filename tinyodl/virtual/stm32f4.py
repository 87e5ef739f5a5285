"""The STM32F405 and STM32F446 around their core: memory, and the peripherals of the ports.

Sources: RM0090 rev 19 (F405), RM0390 rev 6 (F446). Oscillators and PLL are ready at once,
transmitting takes no time, flash is never busy.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyodl.errors import UserError
from tinyodl.targets.boards import Board
from tinyodl.virtual.peripheral import Area, Machine, MemoryMap, Misuse, Model, Peripheral
from tinyodl.virtual.stm32_pins import Gpio, Outputs
from tinyodl.virtual.stm32_serial import Receiver
from tinyodl.virtual.stm32f4_clock import ClockTree, Gate, Power, Rcc
from tinyodl.virtual.stm32f4_flash import FlashController

KIB = 1024


@dataclass(frozen=True)
class _Model:
    """The differences between the chips; frequencies in Hz."""

    memory: MemoryMap
    limit: int  # of the core's clock
    overdrive_above: int


_MODELS = {
    "stm32f405": _Model(
        MemoryMap(
            Area("flash", 0x0800_0000, 1024 * KIB),
            (Area("SRAM", 0x2000_0000, 128 * KIB), Area("CCM", 0x1000_0000, 64 * KIB)),
        ),
        limit=168_000_000,
        overdrive_above=168_000_000,
    ),
    "stm32f446": _Model(
        MemoryMap(Area("flash", 0x0800_0000, 512 * KIB), (Area("SRAM", 0x2000_0000, 128 * KIB),)),
        limit=180_000_000,
        overdrive_above=168_000_000,
    ),
}


def _model(board: Board) -> _Model:
    for name, model in _MODELS.items():
        if board.chip.lower().startswith(name):
            return model
    raise UserError(
        f"there is no virtual board with the chip {board.chip!r}; "
        f"of the STM32F4 there are {', '.join(_MODELS)}"
    )


def memory_map(board: Board) -> MemoryMap:
    return _model(board).memory


class Stm32f4:
    """The whole chip after a reset."""

    burst = 32

    def __init__(self, machine: Machine) -> None:
        model = _model(machine.board)
        power = Power()
        rcc = Rcc(
            ClockTree(
                board_hz=machine.board.clock_hz,
                crystal_hz=machine.board.settings.get("hse_hz", 0),
                limit_hz=model.limit,
                overdrive_above_hz=model.overdrive_above,
            ),
            power,
        )
        flash = FlashController(machine, model.memory.flash)
        rcc.flash = flash
        self._usart1 = Usart("USART1", machine, rcc, bus=2)
        self._usart2 = Usart("USART2", machine, rcc, bus=1)
        ahb1, apb1, apb2 = Gate(rcc, Rcc.AHB1ENR), Gate(rcc, Rcc.APB1ENR), Gate(rcc, Rcc.APB2ENR)
        self.peripherals: dict[range, Peripheral] = {
            _kib(0x4000_0000): apb1.behind(0, Timer("TIM2", machine, rcc)),
            _kib(0x4000_4400): apb1.behind(17, self._usart2),
            _kib(0x4000_7000): apb1.behind(28, power),
            _kib(0x4001_1000): apb2.behind(4, self._usart1),
            _kib(0x4002_3800): rcc,
            _kib(0x4002_3C00): flash,
        }
        settings = machine.board.settings
        self._outputs = Outputs(machine, (settings["mark_0"], settings["mark_1"]))
        for index, letter in enumerate("ABCDEFGH"):
            gpio = Gpio(f"GPIO{letter}", self._outputs, index)
            self.peripherals[_kib(0x4002_0000 + 0x400 * index)] = ahb1.behind(index, gpio)

    def receive(self, data: bytes) -> None:
        """The line leads to both UARTs; the firmware turns one of them on."""
        for byte in data:
            self._usart1.receive(byte)
            self._usart2.receive(byte)

    def gather(self, data: bytes) -> None:
        self._usart1.gather(data)
        self._usart2.gather(data)

    def level(self, pin: int) -> int:
        return self._outputs.level(pin)

    def interrupts(self) -> int:
        return self._usart1.interrupt() << 37 | self._usart2.interrupt() << 38


def _kib(address: int) -> range:
    return range(address, address + KIB)


class Usart(Receiver):
    """A USART as UART without DMA (RM0090, section 30.6)."""

    SR, DR, BRR, CR1, CR2, CR3, GTPR = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18
    CONTROL, UE = CR1, 1 << 13
    UNMODELLED_CR1 = (
        1 << 4 | 1 << 8 | 1 << 10 | 1 << 12 | 1 << 15
    )  # IDLE, PE, parity, 9 bits, OVER8
    DMA = 3 << 6

    def __init__(self, name: str, machine: Machine, rcc: Rcc, bus: int) -> None:
        super().__init__(name, machine, (self.BRR, self.CR1, self.CR2, self.CR3, self.GTPR))
        self._rcc = rcc
        self._bus = bus
        self._overrun_seen = False  # SR was read with ORE set; reading DR then clears it

    def read(self, offset: int) -> int:
        self._lose_patience()
        if offset == self.SR:
            self._overrun_seen = bool(self._status & self.ORE)
            return self._status
        if offset == self.DR:
            if self._overrun_seen:
                self._status &= ~self.ORE
            return self._take()
        if offset in self._stored:
            return self._stored[offset]
        raise Misuse(f"reads register {offset:#x} of {self.name}, which is not modelled")

    def write(self, offset: int, value: int) -> None:
        if offset == self.SR:
            self._status &= value | ~(self.RXNE | self.TC)
        elif offset == self.DR:
            if self._on(self.TE):
                self._require_fitting_baud()
                self._machine.transmit(bytes((value & 0xFF,)))
        elif offset in self._stored:
            if offset == self.CR1 and value & self.UNMODELLED_CR1:
                raise Misuse(f"sets CR1 of {self.name} to {value:#x}; only 8N1 is modelled")
            if offset == self.CR3 and value & self.DMA:
                raise Misuse(f"uses DMA with {self.name}, which is not modelled")
            self._stored[offset] = value
            if self._on(self.RE):
                self._require_fitting_baud()
        else:
            raise Misuse(f"writes register {offset:#x} of {self.name}, which is not modelled")

    def _require_fitting_baud(self) -> None:
        divider = self._stored[self.BRR]
        self._require_baud(self._rcc.bus_hz(self._bus) / max(divider, 1), divider, 16)


class Timer:
    """TIM2, a free-running up-counter of 32 bits (RM0090, section 18.4)."""

    CR1, DIER, SR, EGR, CNT, PSC, ARR = 0x00, 0x0C, 0x10, 0x14, 0x24, 0x28, 0x2C

    def __init__(self, name: str, machine: Machine, rcc: Rcc) -> None:
        self.name = name
        self._machine = machine
        self._rcc = rcc
        self._stored = {self.CR1: 0, self.SR: 0, self.PSC: 0, self.ARR: 0xFFFF_FFFF}
        self._divider = 1  # PSC takes effect at an update event
        self._base = 0
        self._since: int | None = None

    def _count(self) -> int:
        elapsed = 0
        if self._since is not None:
            cycles = self._machine.now() - self._since
            elapsed = cycles * self._rcc.timer_hz(1) // self._rcc.core_hz() // self._divider
        return (self._base + elapsed) % (self._stored[self.ARR] + 1)

    def read(self, offset: int) -> int:
        if offset == self.CNT:
            return self._count()
        if offset in self._stored:
            return self._stored[offset]
        raise Misuse(f"reads register {offset:#x} of {self.name}, which is not modelled")

    def write(self, offset: int, value: int) -> None:
        if offset == self.CNT:
            self._restart(value)
        elif offset == self.EGR:
            self._divider = self._stored[self.PSC] + 1
            self._restart(0)
        elif offset in self._stored:
            if offset == self.CR1 and value & ~0x81:
                raise Misuse(f"sets CR1 of {self.name} to {value:#x}; it only counts up here")
            self._restart(self._count())
            self._stored[offset] = value
            self._since = self._machine.now() if self._stored[self.CR1] & 1 else None
        elif offset != self.DIER or value:
            raise Misuse(f"writes register {offset:#x} of {self.name}, which is not modelled")

    def _restart(self, value: int) -> None:
        self._base = value
        if self._since is not None:
            self._since = self._machine.now()


MODEL = Model(memory_map, Stm32f4)
