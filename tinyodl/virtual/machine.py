"""A chip with its memory, its line and its time: code in the engine, peripherals around it, and
interrupts at their times."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

from tinyodl.targets.boards import Board
from tinyodl.virtual import engine
from tinyodl.virtual.cortex_m4 import Dwt, SystemControl
from tinyodl.virtual.cycles import exception_cycles
from tinyodl.virtual.engine import Engine, Fault, Stop
from tinyodl.virtual.exceptions import FIRST_INTERRUPT, Exceptions
from tinyodl.virtual.flash import Flash
from tinyodl.virtual.image import Image
from tinyodl.virtual.line import Line
from tinyodl.virtual.models import model_of
from tinyodl.virtual.peripheral import Misuse, Peripheral
from tinyodl.virtual.registers import reset_registers
from tinyodl.virtual.tally import Tally

SLICE_CYCLES = 4_000_000  # about 10 ms: how long Ctrl-C and timeouts may wait
NEVER = 2**63
BITS_PER_BYTE = 10  # on the line, with start and stop bit
SYSTEM_CONTROL = range(0xE000_E000, 0xE000_F000)
DWT = range(0xE000_1000, 0xE000_2000)
GRANULE = 1024  # peripherals begin at multiples of this
UNINITIALIZED = b"\xa5"  # RAM after power on holds anything but zeros


class VirtualMachine:
    """The Bus of its engine and the Machine of its peripherals."""

    def __init__(
        self,
        board: Board,
        image: Image,
        store: Path | None,
        places: Mapping[int, str],
        found: Mapping[int, bytes] | None = None,
    ) -> None:
        """Powered on; nothing has been executed yet. `found` is what was in memory before, by
        address: a boot loader's flash, UICR. Raises UserError, BoardError, ToolError."""
        self.board = board
        self.idle = False  # the firmware waits for a byte that nobody has sent
        baud = board.serial.baud if board.serial else 115200
        self.line = Line(BITS_PER_BYTE * board.clock_hz // baud)
        self.pc = 0
        self._image = image
        model = board.target.cycles
        self._entry_cycles, self._return_cycles = exception_cycles(model)
        self._engine = Engine(image, self, places, model)
        self._state = self._engine.meter.state
        self.tally = Tally(self._state, bool(model))
        self._exceptions = Exceptions(self._engine.uc, self)
        self._model = model_of(board.target)
        self._memory = self._model.memory(board)
        self._found = found or {}
        self._ram = [(area.address, _filled(area.size)) for area in self._memory.ram]
        self._flash = Flash(self._memory.flash, image, board, store)
        flash = range(
            self._memory.flash.address, self._memory.flash.address + self._memory.flash.size
        )
        for address, contents in self._found.items():
            if address in flash:
                self._flash.find(address, contents)
        self._slept = 0  # cycles
        try:
            self._map_memory()
            self._power_on()
            self._map_peripherals()
        except BaseException:
            self.close()
            raise

    def send(self, data: bytes) -> None:
        """The host sends, now."""
        self.line.send(data, self.now())
        self.idle = False

    def peek(self, address: int, size: int) -> bytes:
        """Memory as a debugger sees it."""
        return bytes(self._engine.uc.mem_read(address, size))

    def level(self, pin: int) -> int:
        """1 where a pin, numbered as in the board's settings, is an output at high level."""
        return self._chip.level(pin)

    def close(self) -> None:
        self._engine.close()
        self._flash.close()

    # -- Power on ---------------------------------------------------------------------------------

    def _map_memory(self) -> None:
        for address, memory, offset, size in self._flash.blocks:
            self._engine.map_memory(address, memory, offset, size, engine.CODE)
        for address, memory in self._ram:
            size = len(memory)
            runs = any(address <= code.address < address + size for code in self._image.code)
            rights = engine.DATA | (engine.CODE if runs else 0)
            self._engine.map_memory(address, memory, 0, size, rights)
        for area in self._memory.constants:
            self._engine.uc.mem_map(area.address, area.size, engine.READ_ONLY)
            self._engine.uc.mem_write(area.address, area.contents or b"")
            for address, contents in self._found.items():
                if area.address <= address < area.address + area.size:
                    self._engine.uc.mem_write(address, contents)

    def _map_peripherals(self) -> None:
        windows: list[range] = []
        for addresses in sorted(self._all_peripherals(), key=lambda r: r.start):
            if windows and windows[-1].stop == addresses.start:
                windows[-1] = range(windows[-1].start, addresses.stop)
            else:
                windows.append(addresses)
        for window in windows:
            self._engine.map_peripherals(window)

    def _power_on(self) -> None:
        """The state after a reset; RAM, flash, the line and the counts stay."""
        vectors = self.board.flash.origin
        self.idle = False
        self._sleep: Stop | None = None
        self._reset_requested = False
        self._program_width = 0
        self._refused: set[str] = set()
        self._control = SystemControl(self, vectors)
        self._chip = self._model.chip(self)
        self._peripherals = {
            granule: (addresses.start, peripheral)
            for addresses, peripheral in self._all_peripherals().items()
            for granule in range(addresses.start // GRANULE, addresses.stop // GRANULE)
        }
        self.mark(0)
        reset_registers(self._engine.uc, stack=self._flash.word(vectors) & ~3)
        self.pc = self._flash.word(vectors + 4) & ~1
        self._engine.leave_block(self.pc, 0)

    def _all_peripherals(self) -> dict[range, Peripheral]:
        core: dict[range, Peripheral] = {
            SYSTEM_CONTROL: self._control,
            DWT: Dwt(self, self._control),
        }
        return {**self._chip.peripherals, **core}

    # -- Running ----------------------------------------------------------------------------------

    def run_slice(self) -> None:
        """Runs for SLICE_CYCLES, or until it is idle. Raises Fault."""
        end = self._state.cycles + SLICE_CYCLES
        try:
            while self._state.cycles < end:
                self._deliver()
                if self._sleep is not None and not self._wake():
                    self.idle = True
                    return
                self._take_interrupt()
                stop, self.pc = self._engine.run(self.pc, min(end, self._next_interruption()))
                if self._reset_requested:
                    self._power_on()
                elif stop is Stop.RETURN:
                    self._return_from_exception(self.pc | 1)
                elif stop is not Stop.SOON:
                    self._sleep = stop
        except Misuse as misuse:
            raise Fault(str(misuse), self.pc) from misuse

    def _next_interruption(self) -> int:
        """The cycle at which something may want to interrupt the core."""
        nvic = self._control.nvic
        soon = self._state.cycles + 1
        if nvic.candidate() is not None:
            return soon  # masked: look after each block whether it still is
        if not nvic.enabled or self.line.next_arrival is None:
            return NEVER
        return max(self.line.next_arrival - self._slept, soon)

    def _deliver(self) -> None:
        """Bytes that have arrived by now reach the chip, and its interrupts the core."""
        if self.line.next_arrival is not None:
            self._chip.receive(self.line.arrived(self.now()))
        self._control.nvic.set_lines(self._chip.interrupts())

    def _wake(self) -> bool:
        """Sleeps until something wakes the core; False when nothing will."""
        if not self._control.fpu_enabled:
            self._require_fpu_unused()
        while not self._awake():
            arrival = self.line.arrival_of(self._chip.burst)
            if arrival is None:
                return False
            self._slept += max(0, arrival - self.now())
            self._chip.gather(self.line.arrived(self.now()))
            self._control.nvic.set_lines(self._chip.interrupts())
        self._sleep = None
        return True

    def _awake(self) -> bool:
        nvic = self._control.nvic
        masked, base = self._exceptions.masks()
        candidate = nvic.candidate(base)
        if self._sleep is Stop.WAIT_FOR_INTERRUPT:
            return candidate is not None
        if nvic.event:
            nvic.event = False
            return True
        return candidate is not None and not masked

    def _require_fpu_unused(self) -> None:
        if self._exceptions.uses_floats():
            raise Misuse("used the FPU, which CPACR has not enabled")

    def _take_interrupt(self) -> None:
        interrupt = self._next_interrupt()
        if interrupt is not None:
            self._engine.leave_block(self.pc, self._entry_cycles)
            self._exceptions.enter(interrupt, self.pc)
            self.pc = self._handler(interrupt)

    def _return_from_exception(self, back: int) -> None:
        """Or on to the next handler, if an interrupt waits."""
        self._deliver()
        self._control.nvic.leave()
        interrupt = self._next_interrupt()
        if interrupt is not None:
            self._exceptions.chain(interrupt, back)
            self.pc = self._handler(interrupt)
        else:
            self.pc = self._exceptions.leave(back)
        self._engine.leave_block(self.pc, self._return_cycles)

    def _next_interrupt(self) -> int | None:
        """Activates the interrupt that is due now, if any."""
        nvic = self._control.nvic
        if nvic.candidate() is None:
            return None
        masked, base = self._exceptions.masks()
        interrupt = None if masked else nvic.candidate(base)
        if interrupt is not None:
            nvic.enter(interrupt)
        return interrupt

    def _handler(self, interrupt: int) -> int:
        """Address of an interrupt's handler; the vector table may lie in flash or RAM."""
        vector = self._control.vectors + 4 * (FIRST_INTERRUPT + interrupt)
        return int.from_bytes(self._engine.uc.mem_read(vector, 4), "little") & ~1

    # -- Bus: accesses of the firmware ------------------------------------------------------------

    def load(self, address: int, size: int) -> int:
        start, peripheral = self._peripherals[address // GRANULE]
        self._catch_up()
        word = peripheral.read((address & ~3) - start)
        if size == 4:
            return word
        _require_words(peripheral, size)
        return word >> 8 * (address & 3) & (1 << 8 * size) - 1

    def store(self, address: int, size: int, value: int) -> None:
        start, peripheral = self._peripherals[address // GRANULE]
        self._catch_up()
        offset = (address & ~3) - start
        if size != 4:
            _require_words(peripheral, size)
            mask = (1 << 8 * size) - 1 << 8 * (address & 3)
            value = peripheral.read(offset) & ~mask | value << 8 * (address & 3) & mask
        peripheral.write(offset, value)
        nvic = self._control.nvic
        nvic.set_lines(self._chip.interrupts())
        if nvic.candidate() is not None:
            self._engine.stop_soon()

    def _catch_up(self) -> None:
        arrival = self.line.next_arrival
        if arrival is not None and arrival <= self.now():
            self._deliver()
            if self._control.nvic.candidate() is not None:
                self._engine.stop_soon()

    def write_flash(self, address: int, size: int, value: int) -> None:
        """Ignored, as on silicon, unless the controller has writing on for this width."""
        if not self._program_width:
            self._refused.add("off")
        elif size != self._program_width:
            self._refused.add("width")
        elif refused := self._flash.program(address, size, value):
            self._refused.add(refused)

    def signal(self) -> None:
        self._control.nvic.event = True

    def reach(self, place: str) -> None:
        self.tally.reach(place)

    # -- Machine: what peripherals see ------------------------------------------------------------

    def now(self) -> int:
        return self._state.cycles_now + self._slept

    def cycles(self) -> int:
        return self._state.cycles_now

    @property
    def byte_cycles(self) -> int:
        return self.line.cycles_per_byte

    def transmit(self, data: bytes) -> None:
        self.line.answer(data)

    def ram(self, address: int, size: int) -> memoryview:
        for start, memory in self._ram:
            if start <= address and address + size <= start + len(memory):
                return memoryview(memory)[address - start : address - start + size]
        raise Misuse(f"gives a DMA engine {address:#010x}, which is outside of RAM")

    def program(self, width: int) -> None:
        self._program_width = width

    def refused(self) -> set[str]:
        refused, self._refused = self._refused, set()
        return refused

    def erase(self, address: int, size: int) -> None:
        self._flash.erase(address, size)

    def mark(self, phase: int) -> None:
        self.tally.mark(phase)

    def reset(self) -> None:
        self._reset_requested = True
        self._engine.stop_soon()


def _filled(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size)
    memory[:] = UNINITIALIZED * size
    return memory


def _require_words(peripheral: Peripheral, size: int) -> None:
    if not isinstance(peripheral, SystemControl):
        raise Misuse(f"accesses {8 * size} bits of {peripheral.name}; its registers have 32")
