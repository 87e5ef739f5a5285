"""Core registers by the dozen: unicorn's own batch functions take ten times as long."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from unicorn import Uc
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
