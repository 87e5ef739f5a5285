"""unicorn, set up as a Cortex-M4F that counts: memory, peripheral windows, faults, sleep.

Two facts about unicorn 2.1 shape this file. Stopping from inside a memory callback leaves the
instruction half executed, so execution only ever stops between blocks (`stop_soon`). And a
callback for an access without rights knows the exact pc, so peripherals are mapped without rights.
"""

from __future__ import annotations

import ctypes
import enum
import mmap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import unicorn
from unicorn import arm_const as arm
from unicorn.unicorn_py3.unicorn import uclib

from tinyodl.errors import ToolError
from tinyodl.virtual.cycles import TAKEN_CYCLES, WAIT_FOR_EVENT, WAIT_FOR_INTERRUPT, tabulate
from tinyodl.virtual.image import Image
from tinyodl.virtual.meter import Meter
from tinyodl.virtual.peripheral import Misuse

OLDEST_UNICORN = (2, 1, 4)  # earlier ones count wrongly, as they report another pc

READ_ONLY = unicorn.UC_PROT_READ
CODE = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
DATA = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE

TRANSLATED_BYTES = 64 * 1024 * 1024  # address space for translated code; unicorn's own is 1 GiB
_NOWHERE = 0xFFFF_FFFE  # an address that no program reaches: emulation ends by stopping
_EVERYWHERE = range(1, 1)  # as unicorn spells it
_CODE_REGION = range(0, 0x2000_0000)  # the architecture's: flash and constants lie here
_EXCEPTION_RETURN = 8
_EXCEPTIONS = {2: "executes SVC", 7: "executes BKPT"}
_ACCESSES = {
    unicorn.UC_MEM_READ_UNMAPPED: "reads {}, where nothing is",
    unicorn.UC_MEM_WRITE_UNMAPPED: "writes {}, where nothing is",
}
_JUMPS = {
    unicorn.UC_MEM_FETCH_UNMAPPED: "jumps to {}, where nothing is",
    unicorn.UC_MEM_FETCH_PROT: "jumps to {}, which is not code",
}


class Fault(Exception):  # noqa: N818  it becomes a BoardError
    """A forbidden act of the firmware; the message completes "the firmware ..."."""

    def __init__(self, what: str, pc: int) -> None:
        super().__init__(what)
        self.what = what
        self.pc = pc


class Stop(enum.Enum):
    """Why execution paused."""

    SOON = enum.auto()  # asked for, or the cycles are used up
    RETURN = enum.auto()  # from an exception; pc is EXC_RETURN
    WAIT_FOR_EVENT = enum.auto()
    WAIT_FOR_INTERRUPT = enum.auto()


class Bus(Protocol):
    """The receiver of all accesses outside RAM. Each of them may raise Misuse."""

    def load(self, address: int, size: int) -> int: ...

    def store(self, address: int, size: int, value: int) -> None: ...

    def write_flash(self, address: int, size: int, value: int) -> None:
        """A store instruction to the code region; nothing else writes there."""

    def signal(self) -> None:
        """SEV was executed."""

    def reach(self, place: str) -> None:
        """The next instruction is at a place."""


class Engine:
    """Executes an image's code from memory that others own."""

    def __init__(self, image: Image, bus: Bus, places: Mapping[int, str], cycles: str) -> None:
        """`places` are names by address; `cycles` is the model of them that counts.

        Raises ToolError when unicorn is too old or the native counter cannot be built.
        """
        _require_version()
        self.uc = unicorn.Uc(
            unicorn.UC_ARCH_ARM,
            unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS,
            arm.UC_CPU_ARM_CORTEX_M4,
        )
        self.uc.ctl_set_tcg_buffer_size(TRANSLATED_BYTES)
        self._bus = bus
        self._views: list[Any] = []  # of the memory that unicorn uses
        self._failure: BaseException | None = None
        self._returning = False
        tables = [tabulate(section, cycles) for section in image.code]
        self.meter = Meter(tables, _address(uclib.uc_emu_stop), _address(uclib.uc_reg_read))
        self._add_hooks(address for table in tables for address in table.signals)
        self._places = places
        for address in places:
            self._add_code_hook(self._reach, address)

    # -- Memory -----------------------------------------------------------------------------------

    def map_memory(
        self, address: int, memory: mmap.mmap, offset: int, size: int, rights: int
    ) -> None:
        """Maps part of `memory`, which must stay until close()."""
        view = (ctypes.c_char * size).from_buffer(memory, offset)
        self._views.append(view)
        self.uc.mem_map_ptr(address, size, rights, ctypes.addressof(view))
        # Only this call marks memory as read-only, so that unicorn drops stores to it.
        self.uc.mem_protect(address, size, rights)

    def map_peripherals(self, window: range) -> None:
        """Accesses to these addresses go to the bus."""

        def load(_: object, offset: int, size: int, __: object) -> int:
            return self._guard(self._bus.load, window.start + offset, size) or 0

        def store(_: object, offset: int, size: int, value: int, __: object) -> None:
            self._guard(self._bus.store, window.start + offset, size, value)

        self.uc.mmio_map(window.start, len(window), load, None, store, None)
        self.uc.mem_protect(window.start, len(window), unicorn.UC_PROT_NONE)
        access = unicorn.UC_HOOK_MEM_READ_PROT | unicorn.UC_HOOK_MEM_WRITE_PROT
        self._add_native_hook(access, self.meter.touch, window)

    def close(self) -> None:
        """Lets go of the memory."""
        del self.uc
        self._views.clear()

    # -- Execution --------------------------------------------------------------------------------

    def run(self, pc: int, stop_at: int) -> tuple[Stop, int]:
        """Executes from pc until a block would begin at or after cycle `stop_at`, or until the
        core sleeps or returns from an exception. Why, and the pc to go on at. Raises Fault."""
        state = self.meter.state
        state.stop_at = stop_at
        self._returning = False
        waiting = None
        try:
            self.uc.emu_start(pc | 1, _NOWHERE)
        except unicorn.UcError as error:
            if self._failure is None:
                self._failure = Fault(f"stops unicorn ({error})", self._pc())
        if self._failure is not None:
            raise self._failure
        pc = self._pc()
        if state.strayed:
            what = f"jumps to {state.stray:#010x}, where the image has no code"
            raise Fault(what, self._last_jump())
        self.meter.settle()
        if self._returning:
            state.end = 0
            return Stop.RETURN, pc
        if state.next == pc and state.end in (WAIT_FOR_EVENT, WAIT_FOR_INTERRUPT):
            waiting = state.end
            state.end = 0
        if waiting == WAIT_FOR_EVENT:
            return Stop.WAIT_FOR_EVENT, pc
        return (Stop.WAIT_FOR_INTERRUPT if waiting else Stop.SOON), pc

    def stop_soon(self) -> None:
        """From a callback: pause before the next block."""
        self.meter.state.stop_at = 0

    def leave_block(self, pc: int, cycles: int) -> None:
        """An exception takes the flow away from pc, at a cost."""
        state = self.meter.state
        if pc != state.next:
            state.cycles += state.end & TAKEN_CYCLES  # of the branch to pc
        state.end = 0
        state.cycles += cycles
        self.meter.settle()

    def _pc(self) -> int:
        return int(self.uc.reg_read(arm.UC_ARM_REG_PC))

    # -- Called by unicorn ------------------------------------------------------------------------

    def _add_hooks(self, signals: Iterable[int]) -> None:
        self._add_native_hook(unicorn.UC_HOOK_BLOCK, self.meter.block, _EVERYWHERE)
        self.uc.hook_add(
            unicorn.UC_HOOK_MEM_WRITE_PROT,
            self._write_to_flash,
            begin=_CODE_REGION.start,
            end=_CODE_REGION.stop - 1,
        )
        invalid = unicorn.UC_HOOK_MEM_UNMAPPED | unicorn.UC_HOOK_MEM_FETCH_PROT
        self.uc.hook_add(invalid, self._invalid_access)
        self.uc.hook_add(unicorn.UC_HOOK_INSN_INVALID, self._invalid_instruction)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._exception)
        for address in signals:
            self._add_code_hook(self._signal, address)

    def _add_code_hook(self, hook: Callable[..., None], address: int) -> None:
        self.uc.hook_add(unicorn.UC_HOOK_CODE, hook, begin=address, end=address)

    def _add_native_hook(self, hook: int, function: int, addresses: range) -> None:
        """unicorn's Python binding takes Python callbacks only, so this goes to its C interface."""
        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            self.uc._uch,
            ctypes.byref(handle),
            hook,
            ctypes.c_void_p(function),
            ctypes.c_void_p(self.meter.address),
            ctypes.c_uint64(addresses.start),
            ctypes.c_uint64(addresses.stop - 1),
        )
        if status != unicorn.UC_ERR_OK:
            raise ToolError(f"unicorn refuses a hook (error {status}); pip install -U unicorn")

    def _guard(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Calls; an exception ends the run. The first one counts: a block goes on for a while."""
        if self._failure is not None:
            return None
        try:
            return function(*arguments)
        except Misuse as error:
            self._fail(str(error), self.meter.state.pc)
        except BaseException as error:
            self._failure = error
            self.uc.emu_stop()
        return None

    def _fail(self, what: str, pc: int) -> None:
        if self._failure is None:
            self._failure = Fault(what, pc)
        self.uc.emu_stop()

    def _write_to_flash(
        self, _: object, __: int, address: int, size: int, value: int, ___: object
    ) -> bool:
        """The store itself is then dropped by unicorn, as the memory is read-only."""
        self.meter.touch_now(self.uc)
        self._guard(self._bus.write_flash, address, size, value & (1 << 8 * size) - 1)
        return True

    def _invalid_access(
        self, _: object, access: int, address: int, size: int, value: int, __: object
    ) -> bool:
        if access in _JUMPS:
            self._fail(_JUMPS[access].format(f"{address:#010x}"), self._last_jump())
        else:
            self.meter.touch_now(self.uc)
            self._fail(_ACCESSES[access].format(f"{address:#010x}"), self.meter.state.pc)
        return False

    def _last_jump(self) -> int:
        """Where the last block ended: with a branch of 16 bits, or the end of one of 32."""
        return self.meter.state.next - 2

    def _invalid_instruction(self, _: object, __: object) -> bool:
        """unicorn reports WFE here, too: the block then ends with it."""
        if self.meter.state.end == WAIT_FOR_EVENT:
            self.uc.emu_stop()
            return True
        self.meter.touch_now(self.uc)
        self._fail("executes an undefined instruction", self.meter.state.pc)
        return False

    def _exception(self, _: object, number: int, __: object) -> None:
        if number == _EXCEPTION_RETURN:
            self._returning = True
            self.uc.emu_stop()
        else:
            what = _EXCEPTIONS.get(number, f"raises exception {number} of the emulator")
            self._fail(what, self._pc())

    def _signal(self, _: object, __: int, ___: int, ____: object) -> None:
        self._guard(self._bus.signal)

    def _reach(self, _: object, address: int, __: int, ___: object) -> None:
        self.meter.touch_now(self.uc)
        self._guard(self._bus.reach, self._places[address])


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def _require_version() -> None:
    found = (unicorn.UC_VERSION_MAJOR, unicorn.UC_VERSION_MINOR, unicorn.UC_VERSION_PATCH)
    if found < OLDEST_UNICORN:
        have, need = (".".join(map(str, version)) for version in (found, OLDEST_UNICORN))
        raise ToolError(
            f"the virtual board needs unicorn {need} and found {have}; "
            "pip install --upgrade 'tinyodl[virtual]'"
        )
