"""Flash as on silicon: erased to ones, programmed to zeros, only when the controller allows."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.virtual.conftest import Build
from tinyodl.errors import BoardError
from tinyodl.targets.boards import Board, load_board
from tinyodl.virtual.unicorn_board import UnicornBoard

ERASED = 0xFFFF_FFFF
NVMC_READY, NVMC_CONFIG, NVMC_ERASEPAGE = 0x4001_E400, 0x4001_E504, 0x4001_E508
READ, WRITE, ERASE = 0, 1, 2
FLASH_KEYR, FLASH_SR, FLASH_CR = 0x4002_3C04, 0x4002_3C0C, 0x4002_3C10
KEYS = (0x4567_0123, 0xCDEF_89AB)
PG, SER, WORDS, STRT, LOCK = 1 << 0, 1 << 1, 2 << 8, 1 << 16, 1 << 31
PGPERR, PGSERR = 1 << 6, 1 << 7


class Remote:
    """firmware/flash.c at the other end of the line."""

    def __init__(self, board: UnicornBoard) -> None:
        self._board = board

    def ask(self, command: str, address: int, value: int = 0) -> int:
        self._board.write(struct.pack("<cII", command.encode(), address, value))
        (answer,) = struct.unpack("<I", self._board.read(1.0))
        return int(answer)

    def read(self, address: int) -> int:
        return self.ask("r", address)

    def write(self, address: int, value: int) -> None:
        self.ask("w", address, value)


@pytest.fixture
def image(build: Build, nrf: Board) -> Path:
    return build("flash", nrf)


# -- nRF52840 -------------------------------------------------------------------------------------


def test_nrf_flash_starts_erased_and_ignores_writes_while_read_only(
    image: Path, nrf: Board
) -> None:
    assert nrf.store is not None
    slot = nrf.store.slots[0]
    with UnicornBoard(nrf, image) as board:
        remote = Remote(board)
        remote.write(slot, 0x1234_5678)
        assert remote.read(slot) == ERASED


def test_nrf_programming_only_clears_bits_until_the_page_is_erased(image: Path, nrf: Board) -> None:
    assert nrf.store is not None
    slot = nrf.store.slots[1]
    with UnicornBoard(nrf, image) as board:
        remote = Remote(board)
        remote.write(NVMC_CONFIG, WRITE)
        remote.write(slot, 0xFFFF_00FF)
        remote.write(slot, 0x0F0F_0F0F)
        remote.write(slot + 4096, 1)
        assert remote.read(slot) == 0x0F0F_000F
        remote.write(NVMC_ERASEPAGE, slot)  # not in erase mode
        assert remote.read(slot) == 0x0F0F_000F
        remote.write(NVMC_CONFIG, ERASE)
        remote.write(NVMC_ERASEPAGE, slot)
        assert remote.read(NVMC_READY) == 1
        assert (remote.read(slot), remote.read(slot + 4096)) == (ERASED, 1)


def test_nrf_the_next_instruction_sees_what_the_cells_hold(image: Path, nrf: Board) -> None:
    assert nrf.store is not None
    slot = nrf.store.slots[0]
    with UnicornBoard(nrf, image) as board:
        remote = Remote(board)
        assert remote.ask("x", slot, 5) == ERASED
        remote.write(NVMC_CONFIG, WRITE)
        assert remote.ask("x", slot, 0xFFFF_FFF0) == 0xFFFF_FFF0
        assert remote.ask("x", slot, 0x0000_000F) == 0


@pytest.mark.parametrize("mode", [READ, WRITE])
def test_nrf_a_store_that_moves_its_base_on_does_so(image: Path, nrf: Board, mode: int) -> None:
    assert nrf.store is not None
    with UnicornBoard(nrf, image) as board:
        remote = Remote(board)
        remote.write(NVMC_CONFIG, mode)
        assert remote.ask("p", nrf.store.slots[0], 0) == 4


# -- STM32F4 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sector"), [("netduinoplus2", 10), ("netduinoplus2", 11), ("nucleo_f446re", 6)]
)
def test_stm32_flash_wants_keys_mode_and_width(build: Build, name: str, sector: int) -> None:
    board = load_board(name)
    assert board.store is not None
    slot = 0x0800_0000 + 0x2_0000 * (sector - 4)
    with UnicornBoard(board, build("flash", board)) as virtual:
        remote = Remote(virtual)
        remote.write(FLASH_CR, PG | WORDS)  # locked: ignored
        remote.write(slot, 1)
        assert remote.read(FLASH_SR) == PGSERR
        for key in KEYS:
            remote.write(FLASH_KEYR, key)
        remote.write(FLASH_SR, PGSERR)
        remote.write(FLASH_CR, PG | WORDS)
        remote.write(slot, 0xFFFF_0000)
        remote.write(slot, 0x0FF0_0FF0)
        remote.ask("h", slot + 4, 7)  # 16 bits at a width of 32
        assert (remote.read(slot), remote.read(slot + 4)) == (0x0FF0_0000, ERASED)
        assert remote.read(FLASH_SR) == PGPERR
        remote.write(FLASH_SR, PGPERR)
        remote.write(FLASH_CR, SER | sector << 3 | STRT)
        assert remote.read(slot) == ERASED
        remote.write(FLASH_CR, LOCK)
        remote.write(slot, 0)
        assert remote.read(slot) == ERASED


def test_stm32_erasing_the_firmware_is_a_fault(build: Build, netduino: Board) -> None:
    with UnicornBoard(netduino, build("flash", netduino)) as virtual:
        remote = Remote(virtual)
        for key in KEYS:
            remote.write(FLASH_KEYR, key)
        with pytest.raises(BoardError, match=r"erases flash at 0x08000000.*\(main"):
            remote.write(FLASH_CR, SER | STRT)


def test_stm32_a_wrong_key_locks_until_reset(build: Build, netduino: Board) -> None:
    with UnicornBoard(netduino, build("flash", netduino)) as virtual:
        remote = Remote(virtual)
        remote.write(FLASH_KEYR, 1)
        with pytest.raises(BoardError, match="after a wrong key"):
            remote.write(FLASH_KEYR, KEYS[0])


# -- STM32L4 --------------------------------------------------------------------------------------

L4_KEYR, L4_SR, L4_CR = 0x4002_2008, 0x4002_2010, 0x4002_2014
L4_PER, L4_BKER = 1 << 1, 1 << 11
L4_PROGERR, L4_SIZERR, L4_PGSERR = 1 << 3, 1 << 6, 1 << 7


def l4_writing(remote: Remote) -> None:
    for key in KEYS:
        remote.write(L4_KEYR, key)
    remote.write(L4_CR, PG)


def test_stm32l4_programs_a_double_word_once_until_its_page_is_erased(build: Build) -> None:
    """RM0351 section 3.3.7, and PROGERR in 3.7.5."""
    board = load_board("nucleo_l476rg")
    assert board.store is not None
    slot = board.store.slots[1]
    with UnicornBoard(board, build("flash", board)) as virtual:
        remote = Remote(virtual)
        remote.write(slot, 1)
        assert remote.read(L4_SR) == L4_PGSERR, "locked"
        l4_writing(remote)
        remote.write(slot, 1)
        assert remote.read(slot) == ERASED, "an error of before refuses what follows"
        remote.write(L4_SR, L4_PGSERR)
        remote.write(L4_CR, PG)
        remote.write(slot, 0x1111_2222)
        assert remote.read(slot) == ERASED, "nothing happens before the second word"
        remote.write(slot + 4, 0xFFFF_FFFF)
        assert (remote.read(slot), remote.read(slot + 4)) == (0x1111_2222, ERASED)
        remote.write(slot, 0x1111_2222)
        remote.write(slot + 4, 0x3333_4444)
        assert (remote.read(slot), remote.read(slot + 4)) == (0x1111_2222, ERASED)
        assert remote.read(L4_SR) == L4_PROGERR
        remote.write(L4_SR, L4_PROGERR)
        page = (slot - 0x0808_0000) // 2048
        remote.write(L4_CR, L4_PER | L4_BKER | page << 3 | STRT)
        assert remote.read(slot) == ERASED
        remote.write(L4_CR, PG)
        remote.write(slot, 0xFFFF_FFFF)
        remote.write(slot + 4, 0xFFFF_FFFF)
        remote.write(slot, 5)
        remote.write(slot + 4, 6)
        assert (remote.read(slot), remote.read(L4_SR)) == (ERASED, L4_PROGERR), "ones count too"


def test_stm32l4_wants_the_words_of_a_unit_in_order_and_whole(build: Build) -> None:
    board = load_board("nucleo_l476rg")
    assert board.store is not None
    slot = board.store.slots[0]
    with UnicornBoard(board, build("flash", board)) as virtual:
        remote = Remote(virtual)
        l4_writing(remote)
        remote.write(slot + 4, 1)
        assert (remote.read(slot + 4), remote.read(L4_SR)) == (ERASED, L4_PGSERR)
        remote.write(L4_SR, L4_PGSERR)
        remote.write(slot, 1)
        remote.write(slot + 8, 1)
        assert (remote.read(slot), remote.read(L4_SR)) == (ERASED, L4_PGSERR)
        remote.write(L4_SR, L4_PGSERR)
        remote.ask("h", slot + 16, 1)
        assert (remote.read(slot + 16), remote.read(L4_SR)) == (ERASED, L4_SIZERR)


def test_stm32l4_erasing_the_firmware_is_a_fault(build: Build) -> None:
    board = load_board("nucleo_l476rg")
    with UnicornBoard(board, build("flash", board)) as virtual:
        remote = Remote(virtual)
        l4_writing(remote)
        with pytest.raises(BoardError, match="erases flash at 0x08000000"):
            remote.write(L4_CR, L4_PER | STRT)


# -- The file -------------------------------------------------------------------------------------


def test_the_store_survives_in_its_file(image: Path, nrf: Board, tmp_path: Path) -> None:
    assert nrf.store is not None
    first, second = nrf.store.slots
    store = tmp_path / "flash.bin"
    with UnicornBoard(nrf, image, store) as board:
        remote = Remote(board)
        remote.write(NVMC_CONFIG, WRITE)
        remote.write(first, 0x0000_1111)
        remote.write(second + 8, 0x0000_2222)
    assert store.stat().st_size == 2 * nrf.store.slot_bytes
    with UnicornBoard(nrf, image, store) as board:
        remote = Remote(board)
        assert (remote.read(first), remote.read(second + 8)) == (0x1111, 0x2222)
        assert remote.read(second) == ERASED


_WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from tests.virtual.test_flash import NVMC_CONFIG, WRITE, Remote
from tinyodl.targets.boards import load_board
from tinyodl.virtual.unicorn_board import UnicornBoard
board = load_board("nrf52840_dk")
remote = Remote(UnicornBoard(board, Path(sys.argv[1]), Path(sys.argv[2])))
remote.write(NVMC_CONFIG, WRITE)
remote.write(board.store.slots[0], 42)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_had_programmed_is_there(
    image: Path, nrf: Board, tmp_path: Path
) -> None:
    assert nrf.store is not None
    store = tmp_path / "flash.bin"
    command = [sys.executable, "-c", _WRITE_AND_DIE, str(image), str(store)]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert run.returncode == -signal.SIGKILL
    with UnicornBoard(nrf, image, store) as board:
        assert Remote(board).read(nrf.store.slots[0]) == 42


def test_two_boards_cannot_share_a_store(image: Path, nrf: Board, tmp_path: Path) -> None:
    store = tmp_path / "flash.bin"
    with UnicornBoard(nrf, image, store), pytest.raises(BoardError, match="is in use"):
        UnicornBoard(nrf, image, store)
    UnicornBoard(nrf, image, store).close()


def test_a_store_of_the_wrong_size_is_refused(image: Path, nrf: Board, tmp_path: Path) -> None:
    store = tmp_path / "flash.bin"
    store.write_bytes(b"short")
    with pytest.raises(BoardError, match=r"has 5 bytes, but .* delete the file"):
        UnicornBoard(nrf, image, store)
    assert store.read_bytes() == b"short"
