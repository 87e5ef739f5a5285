"""Exception entry and return, which unicorn leaves to others.

Source: ARMv7-M Architecture Reference Manual (Arm DDI 0403E), sections B1.5.6 to B1.5.8. The
process stack is not modelled, and refused.
"""

from __future__ import annotations

import struct

from unicorn import Uc
from unicorn import arm_const as arm

from tinyodl.virtual.peripheral import Machine, Misuse
from tinyodl.virtual.registers import RegisterBatch

FIRST_INTERRUPT = 16  # exception number of interrupt 0

CONTROL_SPSEL = 1 << 1
CONTROL_FPCA = 1 << 2
CONTROL_BITS = 7  # of an Armv7-M core
XPSR_THUMB = 1 << 24
XPSR_FLAGS = 0xF80F_0000
XPSR_EXCEPTION = 0x1FF
XPSR_ALIGNED = 1 << 9  # in the stacked xPSR: the stack was moved to a multiple of 8
EXC_RETURN = 0xFFFF_FFE1  # to a handler, with floats
EXC_RETURN_THREAD = 1 << 3
EXC_RETURN_NO_FLOATS = 1 << 4

_STACKED = (
    *(arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1, arm.UC_ARM_REG_R2, arm.UC_ARM_REG_R3),
    *(arm.UC_ARM_REG_R12, arm.UC_ARM_REG_LR),
)
_CORE_FRAME = struct.Struct("<8I")
_FLOAT_FRAME = struct.Struct("<8QII")


class Exceptions:
    """Entry and return on one core."""

    def __init__(self, uc: Uc, machine: Machine) -> None:
        self._machine = machine
        self._masks = RegisterBatch(
            uc, (arm.UC_ARM_REG_PRIMASK, arm.UC_ARM_REG_FAULTMASK, arm.UC_ARM_REG_BASEPRI)
        )
        self._context = RegisterBatch(
            uc, (*_STACKED, arm.UC_ARM_REG_XPSR, arm.UC_ARM_REG_SP, arm.UC_ARM_REG_CONTROL)
        )
        self._entry = RegisterBatch(
            uc,
            (
                *(arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR),
                *(arm.UC_ARM_REG_CONTROL, arm.UC_ARM_REG_XPSR),
            ),
        )
        self._next = RegisterBatch(uc, (arm.UC_ARM_REG_IPSR, arm.UC_ARM_REG_LR))
        doubles = range(arm.UC_ARM_REG_D0, arm.UC_ARM_REG_D0 + 8)  # S0 to S15
        self._floats = RegisterBatch(uc, (*doubles, arm.UC_ARM_REG_FPSCR))

    def masks(self) -> tuple[bool, int]:
        """Whether PRIMASK or FAULTMASK holds interrupts off, and BASEPRI."""
        primask, faultmask, base = self._masks.read()
        return bool((primask | faultmask) & 1), base & 0xFF

    def uses_floats(self) -> bool:
        """Whether the running code has used the FPU."""
        return bool(self._context.read()[-1] & CONTROL_FPCA)

    def enter(self, interrupt: int, pc: int) -> None:
        """Stacks the context and turns to handler mode, as the core does before the first
        instruction of a handler. With FPCA set, the floating-point registers are stacked at once;
        silicon may do so later, which the program cannot tell."""
        *registers, xpsr, sp, control = self._context.read()
        if control & CONTROL_SPSEL:
            raise Misuse("runs on the process stack, which is not modelled")
        floats = bool(control & CONTROL_FPCA)
        frame = _CORE_FRAME.pack(*registers, pc, xpsr | (XPSR_ALIGNED if sp & 4 else 0))
        if floats:
            frame += _FLOAT_FRAME.pack(*self._floats.read(), 0)
        sp = (sp - len(frame)) & ~7
        self._machine.ram(sp, len(frame))[:] = frame
        back = EXC_RETURN | (0 if floats else EXC_RETURN_NO_FLOATS)
        if not xpsr & XPSR_EXCEPTION:
            back |= EXC_RETURN_THREAD
        xpsr = XPSR_THUMB | xpsr & XPSR_FLAGS | FIRST_INTERRUPT + interrupt
        self._entry.write((sp, back, control & CONTROL_BITS & ~CONTROL_FPCA, xpsr))

    def leave(self, back: int) -> int:
        """Unstacks the context that EXC_RETURN `back` names; the pc to go on at."""
        sp, _, control, _ = self._entry.read()
        floats = not back & EXC_RETURN_NO_FLOATS
        *registers, pc, xpsr = _CORE_FRAME.unpack(self._machine.ram(sp, _CORE_FRAME.size))
        sp += _CORE_FRAME.size
        if floats:
            *values, _ = _FLOAT_FRAME.unpack(self._machine.ram(sp, _FLOAT_FRAME.size))
            self._floats.write(values)
            sp += _FLOAT_FRAME.size
        if xpsr & XPSR_ALIGNED:
            sp += 4
        control = control & CONTROL_BITS & ~CONTROL_FPCA | (CONTROL_FPCA if floats else 0)
        self._context.write((*registers, xpsr & ~XPSR_ALIGNED, sp, control))
        return int(pc)

    def chain(self, interrupt: int, back: int) -> None:
        """The next handler begins on the context that is already stacked."""
        self._next.write((FIRST_INTERRUPT + interrupt, back))
