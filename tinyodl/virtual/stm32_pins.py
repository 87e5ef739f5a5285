"""Pins of the STM32 families: all have the same GPIO (RM0090, section 8.4; RM0351, section 8.4)."""

from __future__ import annotations

from tinyodl.virtual.peripheral import Machine, Misuse


class Outputs:
    """The levels of all pins, numbered 16 * port + pin. Two of them carry the phase's bits."""

    def __init__(self, machine: Machine, markers: tuple[int, int]) -> None:
        self._machine = machine
        self._markers = markers
        self._high = [0] * 8  # of each port, the outputs at high level

    def follow(self, port: int, high: int) -> None:
        self._high[port] = high
        self._machine.mark(sum(self.level(pin) << bit for bit, pin in enumerate(self._markers)))

    def level(self, pin: int) -> int:
        return self._high[pin // 16] >> pin % 16 & 1


class Gpio:
    """One port; inputs read 0."""

    MODER, IDR, ODR, BSRR, END = 0x00, 0x10, 0x14, 0x18, 0x28

    def __init__(self, name: str, outputs: Outputs, index: int) -> None:
        self.name = name
        self._levels = outputs
        self._index = index
        self._stored = dict.fromkeys(range(0, self.END, 4), 0)

    def read(self, offset: int) -> int:
        if offset in self._stored:
            return 0 if offset in (self.IDR, self.BSRR) else self._stored[offset]
        raise Misuse(f"reads register {offset:#x} of {self.name}, which is not modelled")

    def write(self, offset: int, value: int) -> None:
        if offset not in self._stored:
            raise Misuse(f"writes register {offset:#x} of {self.name}, which is not modelled")
        if offset == self.BSRR:  # setting wins over resetting
            out = self._stored[self.ODR]
            self._stored[self.ODR] = (out & ~(value >> 16) | value) & 0xFFFF
        else:
            self._stored[offset] = value
        self._levels.follow(self._index, self._stored[self.ODR] & self._outputs())

    def _outputs(self) -> int:
        """The pins that are outputs, bit by bit."""
        mode = self._stored[self.MODER]
        return sum(int(mode >> 2 * pin & 3 == 1) << pin for pin in range(16))
