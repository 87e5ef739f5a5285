"""The nRF52840's serial line: UARTE0 with EasyDMA, and PPI and TIMER, which count its bytes.

Source: nRF52840 Product Specification v1.7. Transmitting takes no time.
"""

from __future__ import annotations

from tinyodl.virtual.peripheral import Machine, Misuse, Peripheral, unknown


class Ppi:
    """Wires from events to tasks (PS, section 6.16)."""

    name = "PPI"

    def __init__(self) -> None:
        self.tasks: dict[int, Peripheral] = {}
        self._enabled = 0
        self._events = [0] * 20
        self._tasks = [0] * 20
        self._forks = [0] * 32

    def fire(self, event: int, times: int = 1) -> None:
        """An event, by its address, happened that many times."""
        if not self._enabled:
            return
        for channel in range(20):
            if self._enabled >> channel & 1 and self._events[channel] == event:
                for task in (self._tasks[channel], self._forks[channel]):
                    if task:
                        self._trigger(task, times)

    def _trigger(self, task: int, times: int) -> None:
        peripheral = self.tasks.get(task & ~0xFFF)
        if peripheral is None:
            raise Misuse(f"connects a PPI channel to task {task:#010x}, which is not modelled")
        if isinstance(peripheral, Timer) and task & 0xFFF == Timer.COUNT:
            peripheral.count(times)
            return
        for _ in range(times):
            peripheral.write(task & 0xFFF, 1)

    def read(self, offset: int) -> int:
        if offset in (0x500, 0x504, 0x508):
            return self._enabled
        if 0x510 <= offset < 0x5B0:
            wires = self._tasks if offset & 4 else self._events
            return wires[(offset - 0x510) // 8]
        if 0x910 <= offset < 0x990:
            return self._forks[(offset - 0x910) // 4]
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset == 0x500:
            self._enabled = value
        elif offset == 0x504:
            self._enabled |= value
        elif offset == 0x508:
            self._enabled &= ~value
        elif 0x510 <= offset < 0x5B0:
            wires = self._tasks if offset & 4 else self._events
            wires[(offset - 0x510) // 8] = value
        elif 0x910 <= offset < 0x990:
            self._forks[(offset - 0x910) // 4] = value
        else:
            raise unknown("writes", offset, self)
        if self._enabled >> 20:
            raise Misuse("enables a pre-programmed PPI channel, which is not modelled")


class Uarte:
    """UARTE0 with EasyDMA (PS, section 6.34)."""

    name = "UARTE0"
    BASE = 0x4000_2000
    RXDRDY, ENDRX, TXDRDY, ENDTX = 0x108, 0x110, 0x11C, 0x120
    RXTO, RXSTARTED, TXSTARTED, TXSTOPPED = 0x144, 0x14C, 0x150, 0x158
    EVENTS = (
        *(0x100, 0x104, RXDRDY, ENDRX, TXDRDY, ENDTX, 0x124),
        *(RXTO, RXSTARTED, TXSTARTED, TXSTOPPED),
    )
    SHORTS, INTEN, INTENSET, INTENCLR, ERRORSRC, ENABLE = 0x200, 0x300, 0x304, 0x308, 0x480, 0x500
    PSEL_TXD, PSEL_RXD, BAUDRATE = 0x50C, 0x514, 0x524
    RXD_PTR, RXD_MAXCNT, RXD_AMOUNT = 0x534, 0x538, 0x53C
    TXD_PTR, TXD_MAXCNT, TXD_AMOUNT = 0x544, 0x548, 0x54C
    STORED = (
        *(0x508, PSEL_TXD, 0x510, PSEL_RXD, 0x56C, RXD_PTR, TXD_PTR),
        *(RXD_MAXCNT, TXD_MAXCNT, SHORTS, BAUDRATE),
    )
    DISCONNECTED = 0xFFFF_FFFF
    ENABLED = 8

    def __init__(self, machine: Machine, ppi: Ppi) -> None:
        self._machine = machine
        self._ppi = ppi
        self._stored = dict.fromkeys(self.STORED, 0)
        for pin in (0x508, self.PSEL_TXD, 0x510, self.PSEL_RXD):
            self._stored[pin] = self.DISCONNECTED
        self._stored[self.BAUDRATE] = 0x0400_0000
        self._events = dict.fromkeys(self.EVENTS, 0)
        self._amounts = {self.RXD_AMOUNT: 0, self.TXD_AMOUNT: 0}
        self._enabled_interrupts = 0
        self._enabled = False
        self._ring: memoryview | None = None  # of the reception in progress
        self._filled = 0

    def interrupt(self) -> int:
        return int(
            any(
                happened and self._enabled_interrupts >> (event - 0x100) // 4 & 1
                for event, happened in self._events.items()
            )
        )

    def receive(self, data: bytes) -> None:
        """Bytes that nobody waits for are lost."""
        while data and self._ring is not None:
            count = min(len(data), len(self._ring) - self._filled)
            self._ring[self._filled : self._filled + count] = data[:count]
            self._filled += count
            data = data[count:]
            self._event(self.RXDRDY, count)
            if self._filled == len(self._ring):
                self._end_reception()

    def _end_reception(self) -> None:
        self._ring = None
        self._amounts[self.RXD_AMOUNT] = self._filled
        self._event(self.ENDRX)
        if self._stored[self.SHORTS] & 1 << 5:  # ENDRX_STARTRX
            self._start_receiving()

    def _event(self, event: int, times: int = 1) -> None:
        self._events[event] = 1
        self._ppi.fire(self.BASE + event, times)

    def read(self, offset: int) -> int:
        if offset in self._events:
            return self._events[offset]
        if offset in self._stored:
            return self._stored[offset]
        if offset in self._amounts:
            return self._amounts[offset]
        if offset in (self.INTEN, self.INTENSET, self.INTENCLR):
            return self._enabled_interrupts
        if offset == self.ENABLE:
            return self.ENABLED if self._enabled else 0
        if offset == self.ERRORSRC:
            return 0
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset in self._events:
            self._events[offset] = value & 1
        elif offset in self._stored:
            self._stored[offset] = value
        elif offset == self.INTEN:
            self._enabled_interrupts = value
        elif offset == self.INTENSET:
            self._enabled_interrupts |= value
        elif offset == self.INTENCLR:
            self._enabled_interrupts &= ~value
        elif offset == self.ENABLE:
            self._enable(value)
        elif offset in (0x000, 0x004, 0x008, 0x00C, 0x02C):
            if value & 1:
                self._task(offset)
        elif offset != self.ERRORSRC:
            raise unknown("writes", offset, self)

    def _enable(self, value: int) -> None:
        if value not in (0, self.ENABLED):
            raise Misuse("enables the UART without EasyDMA, which is not modelled")
        self._enabled = value == self.ENABLED
        if not self._enabled:
            self._ring = None

    def _task(self, task: int) -> None:
        if not self._enabled:
            raise Misuse("starts a task of UARTE0 before ENABLE is 8; nothing would happen")
        if task == 0x000:
            self._start_receiving()
        elif task == 0x004:  # STOPRX
            if self._ring is not None:
                self._ring = None
                self._amounts[self.RXD_AMOUNT] = self._filled
                self._event(self.ENDRX)
            self._event(self.RXTO)
        elif task == 0x008:
            self._transmit()
        elif task == 0x00C:  # STOPTX
            self._event(self.TXSTOPPED)
        else:  # FLUSHRX
            self._amounts[self.RXD_AMOUNT] = 0
            self._event(self.ENDRX)

    def _start_receiving(self) -> None:
        self._require_line(self.PSEL_RXD)
        self._ring = self._buffer(self.RXD_PTR, self.RXD_MAXCNT)
        self._filled = 0
        self._event(self.RXSTARTED)

    def _transmit(self) -> None:
        self._require_line(self.PSEL_TXD)
        self._machine.transmit(bytes(self._buffer(self.TXD_PTR, self.TXD_MAXCNT)))
        count = self._stored[self.TXD_MAXCNT]
        self._amounts[self.TXD_AMOUNT] = count
        self._event(self.TXSTARTED)
        self._event(self.TXDRDY, count)
        self._event(self.ENDTX)

    def _buffer(self, pointer: int, count: int) -> memoryview:
        size = self._stored[count]
        if not 0 < size <= 0xFFFF:
            raise Misuse(f"starts UARTE0 with {size} bytes; EasyDMA takes 1 to 65535")
        return self._machine.ram(self._stored[pointer], size)

    def _require_line(self, pin: int) -> None:
        if self._stored[pin] == self.DISCONNECTED:
            raise Misuse(f"starts UARTE0 while PSEL {pin:#x} connects no pin")
        serial = self._machine.board.serial
        baud = self._stored[self.BAUDRATE] * 16e6 / 2**32
        if serial is not None and abs(baud / serial.baud - 1) > 0.025:
            raise Misuse(f"runs UARTE0 at {baud:.0f} baud; the host expects {serial.baud}")


class Timer:
    """A TIMER (PS, section 6.30) as counter or as timer, without interrupts and shortcuts."""

    START, STOP, COUNT, CLEAR, SHUTDOWN, CAPTURE = 0x000, 0x004, 0x008, 0x00C, 0x010, 0x040
    MODE, BITMODE, PRESCALER, CC = 0x504, 0x508, 0x510, 0x540
    _BITS = (16, 8, 24, 32)

    def __init__(self, machine: Machine, index: int) -> None:
        self.name = f"TIMER{index}"
        self._machine = machine
        self._stored = {self.MODE: 0, self.BITMODE: 0, self.PRESCALER: 4}
        self._compare = [0] * 4
        self._counted = 0
        self._running_since: int | None = None  # machine time

    def count(self, times: int) -> None:
        """TASKS_COUNT, that many times; without effect in timer mode."""
        if self._stored[self.MODE] and self._running_since is not None:
            self._counted += times

    def _value(self) -> int:
        elapsed = 0
        if not self._stored[self.MODE] and self._running_since is not None:
            cycles = self._machine.now() - self._running_since
            ticks = cycles * 16_000_000 // self._machine.board.clock_hz
            elapsed = ticks >> self._stored[self.PRESCALER]
        return (self._counted + elapsed) % (1 << self._BITS[self._stored[self.BITMODE] & 3])

    def read(self, offset: int) -> int:
        if offset in self._stored:
            return self._stored[offset]
        if self.CC <= offset < self.CC + 16:
            return self._compare[(offset - self.CC) // 4]
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset in self._stored:
            self._stored[offset] = value
        elif self.CC <= offset < self.CC + 16:
            self._compare[(offset - self.CC) // 4] = value
        elif not value & 1:
            raise unknown("writes", offset, self)
        elif offset == self.START:
            if self._running_since is None:
                self._running_since = self._machine.now()
        elif offset in (self.STOP, self.SHUTDOWN):
            self._counted = self._value()
            self._running_since = None
        elif offset == self.COUNT:
            self.count(1)
        elif offset == self.CLEAR:
            self._counted = 0
            if self._running_since is not None:
                self._running_since = self._machine.now()
        elif self.CAPTURE <= offset < self.CAPTURE + 16:
            self._compare[(offset - self.CAPTURE) // 4] = self._value()
        else:
            raise unknown("writes", offset, self)
