"""Clocks of the STM32L4: RCC, and the part of PWR that belongs to it.

The model checks what silicon punishes with a silent hang: limits of the clock tree, flash wait
states, the boost of the STM32L4R5 (RM0351, sections 3.3.3, 5.1.7 and 6; RM0432, the same).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tinyodl.virtual.peripheral import Misuse, unknown

HSI_HZ, MSI_HZ = 16_000_000, 4_000_000


@dataclass(frozen=True)
class ClockTree:
    """The board's clocks and the chip's limits, in Hz. A wait state serves `hz_per_wait_state`."""

    board_hz: int
    limit_hz: int
    boost_above_hz: int  # the limit, where there is no boost
    hz_per_wait_state: int
    vco_limit: int = 344_000_000


class WaitStates(Protocol):
    @property
    def wait_states(self) -> int: ...


class Power:
    """PWR: range 1 after a reset, without boost; the supply of port G is cut off."""

    name = "PWR"
    CR1, CR2, SR2, CR5 = 0x00, 0x04, 0x14, 0x80
    IOSV, R1MODE = 1 << 9, 1 << 8

    def __init__(self, has_boost: bool) -> None:
        self._stored = {self.CR1: 0x200, self.CR2: 0}
        if has_boost:
            self._stored[self.CR5] = self.R1MODE

    @property
    def boost(self) -> bool:
        return not self._stored.get(self.CR5, self.R1MODE) & self.R1MODE

    @property
    def supplies_port_g(self) -> bool:
        return bool(self._stored[self.CR2] & self.IOSV)

    def read(self, offset: int) -> int:
        if offset in self._stored:
            return self._stored[offset]
        if offset == self.SR2:
            return 0
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset not in self._stored:
            raise unknown("writes", offset, self)
        if offset == self.CR1 and value & 3 << 9 != 1 << 9:
            raise Misuse(f"sets PWR_CR1 to {value:#x}; only voltage range 1 is modelled")
        self._stored[offset] = value


class Rcc:
    """Reset and clock control; ready bits follow enables, the status follows the switch."""

    name = "RCC"
    CR, ICSCR, CFGR, PLLCFGR = 0x00, 0x04, 0x08, 0x0C
    AHB2ENR, APB1ENR1, APB1ENR2, APB2ENR = 0x4C, 0x58, 0x5C, 0x60
    END = 0xA0
    MSION, HSION, PLLON = 1 << 0, 1 << 8, 1 << 24
    MSI, HSI, HSE, PLL = 0, 1, 2, 3

    def __init__(self, tree: ClockTree, power: Power) -> None:
        self._tree = tree
        self._power = power
        self.flash: WaitStates | None = None
        self._passed_half = False  # through a half of its clock, since it ran slower
        self._stored = dict.fromkeys(range(0, self.END, 4), 0)
        self._stored[self.CR] = 0x61  # MSI at 4 MHz
        self._stored[self.PLLCFGR] = 0x1000

    # -- Clocks -----------------------------------------------------------------------------------

    def core_hz(self) -> int:
        prescaler = self._field(self.CFGR, 4, 4)
        shifts = (1, 2, 3, 4, 6, 7, 8, 9)
        return self._system_hz() >> (shifts[prescaler & 7] if prescaler & 8 else 0)

    def bus_hz(self) -> int:
        """The clock of APB1: it is not divided here."""
        return self.core_hz()

    def _system_hz(self) -> int:
        return (MSI_HZ, HSI_HZ, 0, self._pll_hz())[self._field(self.CFGR, 2, 2)]

    def _reference(self) -> int:
        source = (0, MSI_HZ, HSI_HZ, 0)[self._field(self.PLLCFGR, 0, 2)]
        return source // (self._field(self.PLLCFGR, 4, 3) + 1)

    def _pll_hz(self) -> int:
        vco = self._reference() * self._field(self.PLLCFGR, 8, 7)
        return vco // (2 * self._field(self.PLLCFGR, 25, 2) + 2)

    def _field(self, register: int, shift: int, width: int) -> int:
        return self._stored[register] >> shift & (1 << width) - 1

    # -- Registers --------------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        if offset not in self._stored:
            raise unknown("reads", offset, self)
        value = self._stored[offset]
        if offset == self.CR:
            value |= (value & (self.MSION | self.PLLON)) << 1 | (value & self.HSION) << 2
        return value

    def write(self, offset: int, value: int) -> None:
        if offset not in self._stored:
            raise unknown("writes", offset, self)
        if offset == self.PLLCFGR and self._stored[self.CR] & self.PLLON:
            raise Misuse("writes RCC_PLLCFGR while the PLL runs, which has no effect")
        if offset == self.CR and value & 0xF0 != 0x60:
            raise Misuse(f"sets RCC_CR to {value:#x}; of the MSI only 4 MHz are modelled")
        if offset == self.CFGR:
            if value >> 8 & 0x3F:
                raise Misuse("divides the clock of APB1 or APB2, which is not modelled")
            value = value & ~0xC | self._stored[offset] & 0xC
        self._stored[offset] = value
        if offset == self.CR and value & self.PLLON:
            self._check_pll()
        elif offset == self.CFGR:
            self._switch(value & 3)

    def _switch(self, source: int) -> None:
        ready = (1 << 1, 1 << 10, 0, 1 << 25)
        if not self.read(self.CR) & ready[source]:
            raise Misuse(f"switches the core to clock source {source}, which is not ready")
        if source == self.PLL and not self._field(self.PLLCFGR, 24, 1):
            raise Misuse("switches the core to the PLL, whose output R is not enabled")
        self._stored[self.CFGR] = self._stored[self.CFGR] & ~0xC | source << 2
        self._check_speed()

    def _check_pll(self) -> None:
        reference, factor = self._reference(), self._field(self.PLLCFGR, 8, 7)
        if not 4_000_000 <= reference <= 16_000_000:
            raise Misuse(f"feeds the PLL with {reference} Hz; it takes 4 to 16 MHz")
        if not 64_000_000 <= reference * factor <= self._tree.vco_limit:
            raise Misuse(f"sets the PLL's VCO to {reference * factor} Hz; it does 64 to 344 MHz")

    def _check_speed(self) -> None:
        hz, tree = self.core_hz(), self._tree
        if hz > tree.limit_hz:
            raise Misuse(f"runs the core at {hz} Hz; {tree.limit_hz} is the limit")
        if hz > tree.boost_above_hz:
            if not self._power.boost:
                raise Misuse(f"runs the core at {hz} Hz without the regulator's boost")
            if not self._passed_half:
                raise Misuse(f"runs the core at {hz} Hz at once, not at a half of it first")
        self._passed_half = self._system_hz() == 2 * hz or (self._passed_half and hz > HSI_HZ)
        needed = -(-hz // tree.hz_per_wait_state) - 1
        if self.flash is not None and self.flash.wait_states < needed:
            raise Misuse(
                f"runs the core at {hz} Hz with {self.flash.wait_states} flash wait states; "
                f"{needed} are needed"
            )
        full = self._field(self.CFGR, 2, 2) == self.PLL and not self._field(self.CFGR, 4, 4)
        if full and hz != tree.board_hz:
            raise Misuse(f"runs the core at {hz} Hz; the board's description says {tree.board_hz}")
