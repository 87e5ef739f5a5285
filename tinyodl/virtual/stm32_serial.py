"""The common part of the STM32 families' USARTs: arriving bytes, and their interrupts."""

from __future__ import annotations

from collections import deque

from tinyodl.virtual.peripheral import Machine, Misuse


class Receiver:
    """The half of a USART that does not differ: eight bits, no parity, no DMA, no FIFO.

    `CONTROL` is the offset of CR1, and `UE` its bit that turns the USART on; the other bits lie
    where they are in every family.
    """

    CONTROL: int
    UE: int
    ORE, RXNE, TC, TXE = 1 << 3, 1 << 5, 1 << 6, 1 << 7
    RE, TE, RXNEIE, TCIE, TXEIE = 1 << 2, 1 << 3, 1 << 5, 1 << 6, 1 << 7

    def __init__(self, name: str, machine: Machine, stored: tuple[int, ...]) -> None:
        """`stored` are the offsets of registers that keep what is written."""
        self.name = name
        self._machine = machine
        self._status = self.TC | self.TXE
        self._data = 0
        self._gathered: deque[int] = deque()
        self._patience = 0  # until then the gathered bytes wait
        self._stored = dict.fromkeys(stored, 0)

    def receive(self, byte: int) -> None:
        """A byte that comes before the last one was read is lost."""
        if not self._on(self.RE):
            return
        if self._gathered:
            self._gathered.append(byte)
        elif self._status & self.RXNE:
            self._status |= self.ORE
        else:
            self._data = byte
            self._status |= self.RXNE

    def gather(self, data: bytes) -> None:
        if self._on(self.RE):
            self._gathered.extend(data)
            waiting = len(self._gathered) * self._machine.byte_cycles
            self._patience = self._machine.now() + waiting
            self._next()

    def _next(self) -> None:
        if self._gathered and not self._status & self.RXNE:
            self._data = self._gathered.popleft()
            self._status |= self.RXNE

    def interrupt(self) -> int:
        control = self._stored[self.CONTROL]
        wanted = 0
        if control & self.RXNEIE:
            wanted |= self.RXNE | self.ORE
        wanted |= control & (self.TCIE | self.TXEIE)  # at the same bits in both
        return int(bool(control & self.UE and self._status & wanted))

    def _on(self, direction: int) -> bool:
        control = self._stored[self.CONTROL]
        return bool(control & self.UE and control & direction)

    def _lose_patience(self) -> None:
        if self._gathered and self._machine.now() > self._patience:
            self._gathered.clear()
            self._status |= self.ORE

    def _take(self) -> int:
        """The byte that was received, and the next one in its place."""
        self._status &= ~self.RXNE
        byte = self._data
        self._next()
        return byte

    def _require_baud(self, baud: float, divider: int, least: int) -> None:
        serial = self._machine.board.serial
        if divider < least:
            raise Misuse(f"starts {self.name} with a divider of {divider}; {least} is the least")
        if serial is not None and abs(baud / serial.baud - 1) > 0.025:
            raise Misuse(f"runs {self.name} at {baud:.0f} baud; the host expects {serial.baud}")
