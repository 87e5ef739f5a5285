"""A virtual board: the firmware image itself, executed by unicorn inside this process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from tinyodl.errors import BoardError
from tinyodl.interrupt import deferred
from tinyodl.targets.boards import Board
from tinyodl.virtual.counts import Count
from tinyodl.virtual.engine import Fault
from tinyodl.virtual.image import Image, load_image
from tinyodl.virtual.machine import VirtualMachine

ANSWER_BYTES = 4096  # read() returns when the board has sent that much without pause
BOOT_SECONDS = 10.0


class UnicornBoard:
    """A Transport with the board behind it: it runs while somebody reads.

    Deterministic: what is written and read decides every count. Bytes reach the board at its baud
    rate in its own time, which stands still between reads. Not for several threads.
    """

    loses_nothing = True

    def __init__(
        self,
        board: Board,
        elf: Path,
        store: Path | None = None,
        places: Mapping[int, str] | None = None,
        image: Image | None = None,
        found: Mapping[int, bytes] | None = None,
    ) -> None:
        """Powers the board on; the firmware runs until it waits for the first byte.

        `store` is the file for the weight store's flash, created when missing; None keeps it in
        memory. `places`, names by address, are for `counters_by_place`. `image` is the content of
        `elf`, if already read. `found` is earlier content of memory, by address: a boot loader's
        flash, UICR. Raises UserError for an image of another board, BoardError when it faults or
        hangs, ToolError when the native counter cannot be built.
        """
        self.board = board
        self.name = f"virtual {board.title}"
        self._image = image or load_image(elf)
        self._failure: BoardError | None = None
        self._closed = False
        self._machine = VirtualMachine(board, self._image, store, places or {}, found)
        try:
            self.run_until_idle(BOOT_SECONDS)
        except BaseException:
            self.close()
            raise

    def write(self, data: bytes) -> None:
        self._require_alive()
        self._machine.send(data)

    def read(self, timeout: float) -> bytes:
        """Runs the board until it has answered and waits again; b"" when it waits without having
        answered (no reason to spend the timeout then), or when the timeout is over."""
        self._require_alive()
        line = self._machine.line
        deadline = time.monotonic() + timeout
        while not self._machine.idle and line.answered < ANSWER_BYTES:
            self._run_slice()
            if line.answered or time.monotonic() > deadline:
                break
        return line.take_answer()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._machine.close()

    def counters(self) -> dict[str, Count]:
        """Executed since power on, by the phase that the marker pins showed. Works after a fault,
        too, and then counts up to the instruction at fault."""
        return self._machine.tally.by_phase()

    def counters_by_place(self) -> dict[tuple[str, str], Count]:
        """The same by (phase, place): the place that execution came to last, "" before any."""
        return self._machine.tally.by_place()

    def seconds(self) -> float:
        """The board's own time since power on, sleep included."""
        return self._machine.now() / self.board.clock_hz

    def run_until_idle(self, timeout: float) -> None:
        """Runs until the firmware waits for input. Raises BoardError when it still runs after
        `timeout` seconds of this computer's time."""
        self._require_alive()
        deadline = time.monotonic() + timeout
        while not self._machine.idle:
            self._run_slice()
            if time.monotonic() > deadline and not self._machine.idle:
                raise BoardError(
                    f"{self.name} does not wait for input after {timeout:g} s; it is at "
                    f"{self._place(self._machine.pc)}"
                )

    def peek(self, address: int, size: int) -> bytes:
        """Memory as a debugger sees it."""
        self._require_alive()
        return self._machine.peek(address, size)

    def level(self, pin: int) -> int:
        """1 where a pin, numbered as in the board's settings, is an output at high level."""
        return self._machine.level(pin)

    def __enter__(self) -> UnicornBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_slice(self) -> None:
        try:
            with deferred():  # a slice ends with the board in one piece
                self._machine.run_slice()
        except Fault as fault:
            self._failure = BoardError(
                f"{self.name}: the firmware {fault.what}; {self._place(fault.pc)}"
            )
            raise self._failure from fault

    def _place(self, pc: int) -> str:
        return f"pc {pc:#010x} ({self._image.where(pc)})"

    def _require_alive(self) -> None:
        if self._closed:
            raise BoardError(f"{self.name} is closed")
        if self._failure is not None:
            raise self._failure
