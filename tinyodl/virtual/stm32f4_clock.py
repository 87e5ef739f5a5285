"""Clocks of the STM32F4: RCC, the part of PWR that belongs to it, and clock gates.

The model checks the mistakes that hang silicon silently: limits of the clock tree, flash wait
states, and use of peripherals while their clock is off (RM0090, sections 3.5.1, 5.1, 7.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tinyodl.virtual.peripheral import Misuse, Peripheral, unknown

HSI_HZ = 16_000_000
HZ_PER_WAIT_STATE = 30_000_000  # at 2.7 to 3.6 V


@dataclass(frozen=True)
class ClockTree:
    """The board's clocks and the chip's limits, in Hz."""

    board_hz: int  # of the core, as the board's description says
    crystal_hz: int  # 0: none
    limit_hz: int
    overdrive_above_hz: int


class WaitStates(Protocol):
    @property
    def wait_states(self) -> int: ...


class Power:
    """PWR: voltage scaling and over-drive follow at once (RM0390, section 5.4)."""

    name = "PWR"
    CR, CSR = 0x00, 0x04
    ODEN, ODSWEN = 1 << 16, 1 << 17

    def __init__(self) -> None:
        self._control = 0xC000
        self._status = 1 << 14  # VOSRDY

    @property
    def overdrive(self) -> bool:
        return self._control & (self.ODEN | self.ODSWEN) == self.ODEN | self.ODSWEN

    def read(self, offset: int) -> int:
        if offset == self.CR:
            return self._control
        if offset == self.CSR:
            return self._status | self._control & (self.ODEN | self.ODSWEN)
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset == self.CR:
            self._control = value
        elif offset != self.CSR:
            raise unknown("writes", offset, self)


class Rcc:
    """Reset and clock control; ready bits follow enables, the status follows the switch."""

    name = "RCC"
    CR, PLLCFGR, CFGR = 0x00, 0x04, 0x08
    AHB1ENR, APB1ENR, APB2ENR = 0x30, 0x40, 0x44
    END = 0x98
    HSION, HSEON, PLLON = 1 << 0, 1 << 16, 1 << 24
    HSI, HSE, PLL = 0, 1, 2

    def __init__(self, tree: ClockTree, power: Power) -> None:
        self._tree = tree
        self._power = power
        self.flash: WaitStates | None = None
        self._stored = dict.fromkeys(range(0, self.END, 4), 0)
        self._stored[self.CR] = self.HSION | 0x80
        self._stored[self.PLLCFGR] = 0x2400_3010

    # -- Clocks -----------------------------------------------------------------------------------

    def core_hz(self) -> int:
        prescaler = self._field(self.CFGR, 4, 4)
        shifts = (1, 2, 3, 4, 6, 7, 8, 9)
        return self._system_hz() >> (shifts[prescaler & 7] if prescaler & 8 else 0)

    def bus_hz(self, bus: int) -> int:
        """APB1 or APB2."""
        return self.core_hz() >> self._bus_shift(bus)

    def timer_hz(self, bus: int) -> int:
        """Timers run at twice the bus clock where it is divided."""
        return self.bus_hz(bus) << (1 if self._bus_shift(bus) else 0)

    def _bus_shift(self, bus: int) -> int:
        prescaler = self._field(self.CFGR, 10 if bus == 1 else 13, 3)
        return (prescaler & 3) + 1 if prescaler & 4 else 0

    def _system_hz(self) -> int:
        source = self._field(self.CFGR, 2, 2)
        return (HSI_HZ, self._tree.crystal_hz, self._pll_hz())[source]

    def _pll_hz(self) -> int:
        return (
            self._oscillator_hz()
            // self._field(self.PLLCFGR, 0, 6)
            * self._field(self.PLLCFGR, 6, 9)
            // (2 * self._field(self.PLLCFGR, 16, 2) + 2)
        )

    def _oscillator_hz(self) -> int:
        return self._tree.crystal_hz if self._field(self.PLLCFGR, 22, 1) else HSI_HZ

    def _field(self, register: int, shift: int, width: int) -> int:
        return self._stored[register] >> shift & (1 << width) - 1

    # -- Registers --------------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        if offset not in self._stored:
            raise unknown("reads", offset, self)
        value = self._stored[offset]
        if offset == self.CR:
            ready = value & self.HSION
            ready |= value & self.HSEON if self._tree.crystal_hz else 0
            ready |= value & self.PLLON
            value |= ready << 1
        return value

    def write(self, offset: int, value: int) -> None:
        if offset not in self._stored:
            raise unknown("writes", offset, self)
        if offset == self.PLLCFGR and self._stored[self.CR] & self.PLLON:
            raise Misuse("writes RCC_PLLCFGR while the PLL runs, which has no effect")
        self._stored[offset] = value
        if offset == self.CR and value & self.PLLON:
            self._check_pll()
        elif offset == self.CFGR:
            self._switch(value & 3)

    def _switch(self, source: int) -> None:
        ready = (1 << 1, 1 << 17, 1 << 25)
        if source > self.PLL or not self.read(self.CR) & ready[source]:
            raise Misuse(f"switches the core to clock source {source}, which is not ready")
        self._stored[self.CFGR] = self._stored[self.CFGR] & ~0xC | source << 2
        self._check_speed()

    def _check_pll(self) -> None:
        divider = self._field(self.PLLCFGR, 0, 6)
        if divider < 2:
            raise Misuse(f"sets PLLM to {divider}; 2 is the least")
        reference = self._oscillator_hz() / divider
        vco = reference * self._field(self.PLLCFGR, 6, 9)
        if not 0.95e6 <= reference <= 2.1e6:
            raise Misuse(f"feeds the PLL with {reference:.0f} Hz; it takes 1 to 2 MHz")
        if not 100e6 <= vco <= 432e6:
            raise Misuse(f"sets the PLL's VCO to {vco:.0f} Hz; it does 100 to 432 MHz")

    def _check_speed(self) -> None:
        hz = self.core_hz()
        tree = self._tree
        if hz > tree.limit_hz:
            raise Misuse(f"runs the core at {hz} Hz; {tree.limit_hz} is the limit")
        if hz > tree.overdrive_above_hz and not self._power.overdrive:
            raise Misuse(f"runs the core at {hz} Hz without over-drive")
        for bus, share in ((1, 4), (2, 2)):
            if self.bus_hz(bus) > tree.limit_hz // share:
                raise Misuse(f"runs APB{bus} at {self.bus_hz(bus)} Hz, which is too fast")
        needed = -(-hz // HZ_PER_WAIT_STATE) - 1
        if self.flash is not None and self.flash.wait_states < needed:
            raise Misuse(
                f"runs the core at {hz} Hz with {self.flash.wait_states} flash wait states; "
                f"{needed} are needed"
            )
        if self._field(self.CFGR, 2, 2) == self.PLL and hz != tree.board_hz:
            raise Misuse(f"runs the core at {hz} Hz; the board's description says {tree.board_hz}")


@dataclass(frozen=True)
class Gate:
    """The clock enable bits of one bus, a register of this RCC."""

    rcc: Peripheral
    register: int

    def behind(self, bit: int, peripheral: Peripheral) -> Peripheral:
        """The peripheral, refusing accesses while its clock is off."""
        return _Gated(self, bit, peripheral)


@dataclass(frozen=True)
class _Gated:
    gate: Gate
    bit: int
    peripheral: Peripheral

    @property
    def name(self) -> str:
        return self.peripheral.name

    def read(self, offset: int) -> int:
        self._require_clock()
        return self.peripheral.read(offset)

    def write(self, offset: int, value: int) -> None:
        self._require_clock()
        self.peripheral.write(offset, value)

    def _require_clock(self) -> None:
        if not self.gate.rcc.read(self.gate.register) >> self.bit & 1:
            raise Misuse(
                f"uses {self.name} while its clock is off (RCC register "
                f"{self.gate.register:#x}, bit {self.bit})"
            )
