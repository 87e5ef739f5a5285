"""The core's own peripherals: system control block, interrupt controller, cycle counter.

Source: ARMv7-M Architecture Reference Manual (Arm DDI 0403E), sections B1.5 (exceptions), B3.2
(SCB), B3.4 (NVIC), C1.8 (DWT). unicorn executes instructions and has none of these.
Not modelled, and refused: SysTick, SVCall, PendSV, MPU, sleep on exit.
"""

from __future__ import annotations

from tinyodl.virtual.peripheral import Machine, Misuse, unknown

INTERRUPTS = 240
FIRST_INTERRUPT = 16  # exception number of interrupt 0
NO_PRIORITY = 256  # of thread mode: everything interrupts it


class Nvic:
    """The pending, enabled and active interrupts, and the next one to come."""

    name = "NVIC"

    def __init__(self) -> None:
        self.enabled = 0  # bit n for interrupt n
        self.pending = 0
        self.event = False  # the event register of WFE
        self.event_on_pending = False  # SCR.SEVONPEND
        self.priorities = bytearray(INTERRUPTS)
        self.active: list[int] = []  # interrupts, the innermost last
        self._active_mask = 0
        self._lines = 0

    def set_lines(self, lines: int) -> None:
        """The interrupt lines that are high; a high line pends unless its handler is active."""
        self._lines = lines
        self._pend(lines & ~self._active_mask)

    def _pend(self, which: int) -> None:
        if which & ~self.pending:
            self.pending |= which
            if self.event_on_pending:
                self.event = True

    def candidate(self, base_priority: int = 0) -> int | None:
        """The interrupt that would be taken now, PRIMASK left aside."""
        waiting = self.pending & self.enabled
        if not waiting:
            return None
        best = (waiting & -waiting).bit_length() - 1
        if waiting != 1 << best:
            numbers = [n for n in range(waiting.bit_length()) if waiting >> n & 1]
            best = min(numbers, key=lambda n: (self.priorities[n], n))
        limit = base_priority or NO_PRIORITY
        if self.active:
            limit = min(limit, self.priorities[self.active[-1]])
        return best if self.priorities[best] < limit else None

    def enter(self, interrupt: int) -> None:
        self.pending &= ~(1 << interrupt)
        self.active.append(interrupt)
        self._active_mask |= 1 << interrupt
        self.event = True

    def leave(self) -> None:
        interrupt = self.active.pop()
        self._active_mask &= ~(1 << interrupt)
        self._pend(self._lines & 1 << interrupt)
        self.event = True

    def read(self, offset: int) -> int:
        bank, word = offset & ~0x1F, offset % 0x20 // 4
        if bank in (0x100, 0x180):
            return self.enabled >> 32 * word & 0xFFFF_FFFF
        if bank in (0x200, 0x280):
            return self.pending >> 32 * word & 0xFFFF_FFFF
        if bank == 0x300:
            return self._active_mask >> 32 * word & 0xFFFF_FFFF
        if 0x400 <= offset < 0x400 + INTERRUPTS:
            return int.from_bytes(self.priorities[offset - 0x400 : offset - 0x3FC], "little")
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        bank, word = offset & ~0x1F, offset % 0x20 // 4
        bits = value << 32 * word & (1 << INTERRUPTS) - 1
        if bank == 0x100:
            self.enabled |= bits
        elif bank == 0x180:
            self.enabled &= ~bits
        elif bank == 0x200:
            self._pend(bits)
        elif bank == 0x280:
            self.pending &= ~bits
        elif 0x400 <= offset < 0x400 + INTERRUPTS:
            kept = (value & 0xF0F0_F0F0).to_bytes(4, "little")  # four bits are implemented
            self.priorities[offset - 0x400 : offset - 0x3FC] = kept
        else:
            raise unknown("writes", offset, self)


_FIXED = {0x004: 7, 0xD00: 0x410F_C241, 0xD90: 0}  # ICTR, CPUID, MPU_TYPE


class SystemControl:
    """The system control space: SCB, SysTick, NVIC, debug."""

    name = "SCS"
    ICSR, VTOR, AIRCR, SCR, CPACR = 0xD04, 0xD08, 0xD0C, 0xD10, 0xD88
    DEMCR = 0xDFC
    _STORED = (
        *(0x008, 0x014, 0x018, VTOR, 0xD14, 0xD18, 0xD1C, 0xD20, 0xD24, 0xD34, 0xD38, CPACR, DEMCR),
        *(0xF34, 0xF38, 0xF3C),
    )
    _STATUS = (0xD28, 0xD2C, 0xD30)  # CFSR, HFSR, DFSR: no fault ever gets that far
    _FPU = 0xF << 20
    _KEY = 0x05FA

    def __init__(self, machine: Machine, vectors: int) -> None:
        self._machine = machine
        self.nvic = Nvic()
        self._stored = dict.fromkeys(self._STORED, 0)
        self._stored[self.VTOR] = vectors
        self._stored[0xD14] = 0x200  # CCR.STKALIGN
        self._stored[0xF34] = 0xC000_0000  # FPCCR: automatic, lazy
        self._control = 0  # SCR

    @property
    def vectors(self) -> int:
        return self._stored[self.VTOR]

    @property
    def fpu_enabled(self) -> bool:
        return self._stored[self.CPACR] & self._FPU == self._FPU

    @property
    def tracing(self) -> bool:
        return bool(self._stored[self.DEMCR] & 1 << 24)

    def read(self, offset: int) -> int:
        if 0x100 <= offset < 0x500:
            return self.nvic.read(offset)
        if offset in self._stored:
            return self._stored[offset]
        if offset in _FIXED:
            return _FIXED[offset]
        if offset in self._STATUS or offset == 0x010:
            return 0
        if offset == self.ICSR:
            active = self.nvic.active
            return active[-1] + FIRST_INTERRUPT if active else 0
        if offset == self.AIRCR:
            return 0xFA05_0000
        if offset == self.SCR:
            return self._control
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if 0x100 <= offset < 0x500:
            self.nvic.write(offset, value)
        elif offset in self._stored:
            self._stored[offset] = value
        elif offset in self._STATUS or offset in _FIXED:
            pass
        elif offset == 0x010:
            if value & 1:
                raise Misuse("starts SysTick, which is not modelled")
        elif offset == self.ICSR:
            if value:
                raise Misuse("pends a system exception, which is not modelled")
        elif offset == self.AIRCR:
            if value >> 16 == self._KEY and value & 1 << 2:
                self._machine.reset()
        elif offset == self.SCR:
            if value & 1 << 1:
                raise Misuse("sets SCR.SLEEPONEXIT, which is not modelled")
            self._control = value
            self.nvic.event_on_pending = bool(value & 1 << 4)
        else:
            raise unknown("writes", offset, self)


class Dwt:
    """The cycle counter; it stands still while the core sleeps."""

    name = "DWT"

    def __init__(self, machine: Machine, control: SystemControl) -> None:
        self._machine = machine
        self._control = control
        self._enabled = False
        self._offset = 0  # CYCCNT is cycles - offset while counting, this value while not

    def _counting(self) -> bool:
        return self._enabled and self._control.tracing

    def read(self, offset: int) -> int:
        if offset == 0:
            return 0x4000_0000 | self._enabled
        if offset == 4:
            return (self._machine.cycles() - self._offset if self._counting() else 0) & 0xFFFF_FFFF
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset == 0:
            if value & 1 and not self._enabled:
                self._offset = self._machine.cycles()
            self._enabled = bool(value & 1)
        elif offset == 4:
            self._offset = self._machine.cycles() - value
        else:
            raise unknown("writes", offset, self)
