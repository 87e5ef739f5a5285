"""Core registers: many at once, faster than unicorn's own functions, and all of them at reset."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from unicorn import Uc
from unicorn import arm_const as arm
from unicorn.unicorn_py3.unicorn import uclib


class RegisterBatch:
    """Registers that are read and written together, each as 64 bits."""

    def __init__(self, uc: Uc, registers: Sequence[int]) -> None:
        """`registers` are unicorn's numbers."""
        count = len(registers)
        self._values = (ctypes.c_uint64 * count)()
        start = ctypes.addressof(self._values)
        pointers = (ctypes.c_void_p * count)(*(start + 8 * i for i in range(count)))
        self._arguments = (uc._uch, (ctypes.c_int32 * count)(*registers), pointers, count)

    def read(self) -> list[int]:
        uclib.uc_reg_read_batch(*self._arguments)
        return self._values[:]

    def write(self, values: Sequence[int]) -> None:
        self._values[:] = list(values)
        uclib.uc_reg_write_batch(*self._arguments)


def reset_registers(uc: Uc, stack: int) -> None:
    """Sets the registers as after a reset of the core, with the vector table's stack pointer."""
    for register in (*range(arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R0 + 13), arm.UC_ARM_REG_FPSCR):
        uc.reg_write(register, 0)
    for register, value in (
        (arm.UC_ARM_REG_XPSR, 1 << 24),
        (arm.UC_ARM_REG_CONTROL, 0),
        (arm.UC_ARM_REG_PRIMASK, 0),
        (arm.UC_ARM_REG_FAULTMASK, 0),
        (arm.UC_ARM_REG_BASEPRI, 0),
        (arm.UC_ARM_REG_LR, 0xFFFF_FFFF),
        (arm.UC_ARM_REG_SP, stack),
    ):
        uc.reg_write(register, value)
