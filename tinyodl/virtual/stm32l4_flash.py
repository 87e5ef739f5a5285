"""The flash controller of the STM32L4 (RM0351, section 3.7; RM0432, section 3.7)."""

from __future__ import annotations

from tinyodl.virtual.peripheral import Area, Machine, Misuse, unknown

PAGES = 256  # of a bank

# The bits of SR for why a store to flash was refused: PGSERR, SIZERR, PROGERR.
_FLAGS = {"off": 1 << 7, "width": 1 << 6, "order": 1 << 7, "twice": 1 << 3}


class FlashController:
    """Programs double words while PG is set, each once; erases pages; never busy."""

    name = "FLASH"
    ACR, KEYR, SR, CR, ECCR, OPTR = 0x00, 0x08, 0x10, 0x14, 0x18, 0x20
    KEYS = (0x4567_0123, 0xCDEF_89AB)
    PG, PER, MER1, BKER, MER2, STRT, LOCK = 1, 1 << 1, 1 << 2, 1 << 11, 1 << 15, 1 << 16, 1 << 31
    PROGERR, PGAERR, SIZERR, PGSERR = 1 << 3, 1 << 5, 1 << 6, 1 << 7
    ERRORS = 0xC3FA

    def __init__(self, machine: Machine, area: Area, page: int, options: int) -> None:
        """`page` is its size in bytes. `options` is what OPTR holds."""
        self._machine = machine
        self._area = area
        self._page = page
        self._options = options
        self._access = 0x600  # both caches are on
        self._control = self.LOCK
        self._status = 0
        self._keys = 0  # how many were right in a row
        self._locked_up = False  # by a wrong key, until the next reset

    @property
    def wait_states(self) -> int:
        return self._access & 0xF

    def read(self, offset: int) -> int:
        if offset == self.ACR:
            return self._access
        if offset == self.SR:
            self._note_refusals()
            return self._status
        if offset == self.CR:
            return self._control
        if offset == self.ECCR:
            return 0
        if offset == self.OPTR:
            return self._options
        raise unknown("reads", offset, self)

    def write(self, offset: int, value: int) -> None:
        if offset == self.ACR:
            self._access = value
        elif offset == self.KEYR:
            self._unlock(value)
        elif offset == self.SR:
            self._note_refusals()
            self._status &= ~value
        elif offset == self.CR:
            self._set_control(value)
        elif offset != self.ECCR:
            raise unknown("writes", offset, self)

    def _note_refusals(self) -> None:
        """Stores to flash that could not be carried out set error flags."""
        for reason in self._machine.refused():
            self._status |= _FLAGS[reason]

    def _unlock(self, key: int) -> None:
        if self._locked_up:
            raise Misuse("writes to FLASH_KEYR after a wrong key; only a reset helps")
        if self._keys < len(self.KEYS) and key == self.KEYS[self._keys]:
            self._keys += 1
            if self._keys == len(self.KEYS):
                self._control &= ~self.LOCK
        else:
            self._locked_up = True
            self._control |= self.LOCK

    def _set_control(self, value: int) -> None:
        if self._control & self.LOCK:
            return  # silicon ignores the write
        self._note_refusals()
        self._control = value & ~self.STRT
        if value & self.LOCK:
            self._keys = 0
        if value & self.STRT:
            self._erase(value)
        writing = value & self.PG and not value & (self.PER | self.MER1 | self.MER2 | self.LOCK)
        self._machine.program(4 if writing and not self._status & self.ERRORS else 0)

    def _erase(self, control: int) -> None:
        if control & (self.MER1 | self.MER2):
            raise Misuse("erases a bank of flash, or all of it")
        if not control & self.PER or control & self.PG or self._status & self.ERRORS:
            self._status |= self.PGSERR
            return
        number = control >> 3 & 0xFF
        if control & self.BKER:
            number += PAGES
        if number * self._page >= self._area.size:
            raise Misuse(f"erases page {number}, which the chip does not have")
        self._machine.erase(self._area.address + number * self._page, self._page)
