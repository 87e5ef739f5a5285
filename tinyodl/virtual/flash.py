"""Flash memory: the image, and the regions the firmware writes; these may live in a file.

The file is the flash: the firmware's writes are in it at once. So a killed process leaves the same
flash as a chip would have at this moment.
"""

from __future__ import annotations

import itertools
import mmap
import os
from pathlib import Path

from tinyodl.errors import BoardError, UserError
from tinyodl.files.file_lock import try_lock
from tinyodl.files.whole_files import write_whole
from tinyodl.targets.boards import Board
from tinyodl.virtual.image import Image
from tinyodl.virtual.peripheral import Area, Misuse

ERASED = b"\xff"


def _address(place: tuple[range, int]) -> int:
    return place[0].start


class Flash:
    """All of the chip's flash. Only the board's regions can be erased and programmed: anything else
    would be the firmware writing over itself or a boot loader. The file holds them one behind the
    other, the weight store first.

    Where the chip's family programs flash only once, a unit takes effect with its last word, and a
    second program of it is refused until it is erased. Of a unit that was programmed with ones,
    only this process knows.
    """

    def __init__(self, area: Area, image: Image, board: Board, file: Path | None) -> None:
        """Raises UserError when the image does not fit, BoardError when the file cannot be used."""
        self._unit = board.target.flash_unit if board.target.flash_once else 0
        self._begun: tuple[int, bytes] | None = None  # a unit's first words: where the next belongs
        self._programmed: set[int] = set()  # addresses of units, since they were erased
        store_bytes = 2 * board.store.slot_bytes if board.store else 0
        self.regions = [range(region.origin, region.end) for region in board.regions if region.size]
        self._places = list(itertools.accumulate(map(len, self.regions), initial=0))
        self._file: int | None = None
        self._store = self._open(file, store_bytes)
        self.blocks: list[tuple[int, mmap.mmap, int, int]] = []  # address, memory, offset, size
        at = area.address
        for region, place in sorted(zip(self.regions, self._places, strict=False), key=_address):
            if region.start > at:
                self._add_read_only(at, region.start - at)
            self.blocks.append((region.start, self._store, place, len(region)))
            at = region.stop
        if area.address + area.size > at:
            self._add_read_only(at, area.address + area.size - at)
        try:
            self._load(image)
        except UserError:
            self.close()
            raise

    def _add_read_only(self, address: int, size: int) -> None:
        memory = mmap.mmap(-1, size)
        memory[:] = ERASED * size
        self.blocks.append((address, memory, 0, size))

    def _open(self, file: Path | None, store_bytes: int) -> mmap.mmap:
        size = self._places[-1]
        if file is None or not size:
            memory = mmap.mmap(-1, max(size, mmap.PAGESIZE))
            memory[:] = ERASED * len(memory)
            return memory
        try:
            if not file.exists():
                write_whole(file, ERASED * size)
            self._file = os.open(file, os.O_RDWR | getattr(os, "O_BINARY", 0))
            if try_lock(self._file) is False:
                raise BoardError(
                    f"{file} is in use: another process runs this virtual board; wait for it to end"
                )
            found = os.fstat(self._file).st_size
            if found < store_bytes:
                raise BoardError(
                    f"{file} has {found} bytes, but the board's store has {store_bytes}; delete "
                    "the file to start with an empty store"
                )
            if found != size:  # of a project that kept another number of bytes beside its weights
                os.ftruncate(self._file, store_bytes)
                os.lseek(self._file, store_bytes, os.SEEK_SET)
                os.write(self._file, ERASED * (size - store_bytes))
            return mmap.mmap(self._file, size)
        except OSError as error:
            self._close_file()
            raise BoardError(f"{file} cannot be used as the board's flash ({error})") from error
        except BoardError:
            self._close_file()
            raise

    def _load(self, image: Image) -> None:
        for segment in image.segments:
            start, end = segment.address, segment.address + len(segment.data)
            for address, memory, _, size in self.blocks:
                if memory is not self._store and address <= start and end <= address + size:
                    memory[start - address : end - address] = segment.data
                    break
            else:
                raise UserError(
                    f"{image.path} loads {start:#x} to {end:#x}, which is not flash for firmware "
                    "on this board; was it built for another one?"
                )

    def word(self, address: int) -> int:
        """The 32-bit word at an address of flash."""
        for start, memory, offset, size in self.blocks:
            if start <= address <= start + size - 4:
                at = address - start + offset
                return int.from_bytes(memory[at : at + 4], "little")
        raise Misuse(f"has its vectors at {address:#010x}, outside of flash")

    def find(self, address: int, contents: bytes) -> None:
        """Puts bytes into flash that the firmware cannot write: they were there before it."""
        end = address + len(contents)
        for start, memory, _, size in self.blocks:
            if memory is not self._store and start <= address and end <= start + size:
                memory[address - start : end - start] = contents
                return
        raise UserError(f"{address:#x} to {end:#x} is flash that the firmware writes, or none")

    def erase(self, address: int, size: int) -> None:
        memory, at = self._in_store("erases", address, size)
        memory[at : at + size] = ERASED * size
        self._programmed -= set(range(address, address + size, self._unit or size))

    def program(self, address: int, size: int, value: int) -> str:
        """NOR flash: programming only clears bits. "", or why it is refused: "order", "twice"."""
        memory, at = self._in_store("programs", address, size)
        if self._unit:
            return self._program_once(address, value.to_bytes(size, "little"))
        old = int.from_bytes(memory[at : at + size], "little")
        memory[at : at + size] = (old & value).to_bytes(size, "little")
        return ""

    def _program_once(self, address: int, word: bytes) -> str:
        expected, words = self._begun or (address - address % self._unit, b"")
        self._begun = None
        if address != expected:
            return "order"
        words += word
        if len(words) < self._unit:
            self._begun = (address + len(word), words)
            return ""
        unit = address + len(word) - self._unit
        memory, at = self._in_store("programs", unit, self._unit)
        if unit in self._programmed or memory[at : at + self._unit] != ERASED * self._unit:
            return "twice"
        memory[at : at + self._unit] = words
        self._programmed.add(unit)
        return ""

    def _in_store(self, verb: str, address: int, size: int) -> tuple[mmap.mmap, int]:
        for region, place in zip(self.regions, self._places, strict=False):
            if address in region and address + size <= region.stop:
                return self._store, place + address - region.start
        raise Misuse(f"{verb} flash at {address:#010x}, which is outside of what it may write")

    def close(self) -> None:
        """Lets go of the file; views of the memory must be gone."""
        for _, memory, _, _ in self.blocks:
            memory.close()
        self._store.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
