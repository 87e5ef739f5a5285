"""The flash controller of the STM32F4 (RM0090, section 3.9; RM0390, section 3.8)."""

from __future__ import annotations

from tinyodl.virtual.peripheral import Area, Machine, Misuse, unknown

KIB = 1024
SECTORS = (*([16 * KIB] * 4), 64 * KIB, *([128 * KIB] * 7))  # bytes; a chip has the first ones


class FlashController:
    """Programs what the firmware stores while PG is set; erases sectors; never busy."""

    name = "FLASH"
    ACR, KEYR, OPTKEYR, SR, CR, OPTCR = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14
    KEYS = (0x4567_0123, 0xCDEF_89AB)
    PG, SER, MER, STRT, LOCK = 1 << 0, 1 << 1, 1 << 2, 1 << 16, 1 << 31
    EOP, PGPERR, PGSERR = 1 << 0, 1 << 6, 1 << 7
    ERRORS = 0xF2

    def __init__(self, machine: Machine, area: Area) -> None:
        self._machine = machine
        self._area = area
        self._access = 0
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
        if offset == self.OPTCR:
            return 0x0FFF_AAED
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
        else:
            raise unknown("writes", offset, self)

    def _note_refusals(self) -> None:
        """Stores to flash that could not be carried out set error flags."""
        refused = self._machine.refused()
        if "off" in refused:
            self._status |= self.PGSERR
        if "width" in refused:
            self._status |= self.PGPERR

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
        writing = value & self.PG and not value & (self.SER | self.MER | self.LOCK)
        ready = writing and not self._status & self.ERRORS
        self._machine.program(1 << (value >> 8 & 3) if ready else 0)

    def _erase(self, control: int) -> None:
        if control & self.MER:
            raise Misuse("erases all of flash, itself included")
        sector = control >> 3 & 0xF
        if not control & self.SER or control & self.PG:
            self._status |= self.PGSERR
            return
        start = self._area.address + sum(SECTORS[:sector])
        if sector >= len(SECTORS) or start >= self._area.address + self._area.size:
            raise Misuse(f"erases sector {sector}, which the chip does not have")
        self._machine.erase(start, SECTORS[sector])
