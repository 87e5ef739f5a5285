"""Ctrl-C as a wish: a stream ends between two samples, so that nothing is left half done.

SIGTERM, and SIGHUP where the terminal goes away, ask for the same. A command that one of them ends
exits with 128 and its number: 130, 143, 129.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class Interrupted(Exception):  # noqa: N818 (not an error: the user asked for it)
    """The user wants to stop; raised by `Wish.check` only."""


class Ended(KeyboardInterrupt):
    """Somebody ends the program with a signal, at once."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Wish:
    """Whether the user wants to stop."""

    def __init__(self) -> None:
        self.stop = False

    def check(self) -> None:
        """Raise Interrupted if Ctrl-C was pressed since the last look."""
        if self.stop:
            raise Interrupted


_last: int = signal.SIGINT


def last_signal() -> int:
    """The number of the signal that the last wish to stop came with."""
    return _last


def exit_code(error: KeyboardInterrupt) -> int:
    """The exit code of a command ended by this interrupt."""
    return 128 + (error.number if isinstance(error, Ended) else signal.SIGINT)


@contextlib.contextmanager
def interruptible() -> Iterator[Wish]:
    """Collect the signals instead of raising; a second one ends the program at once.

    Outside the main thread, where Python delivers no signals, this changes nothing.
    """
    wish = Wish()

    def on_signal(number: int, frame: FrameType | None) -> None:
        global _last
        _last = number
        if wish.stop:
            raise Ended(number)
        wish.stop = True

    with _handled_by(on_signal):
        yield wish


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Let each of the signals raise `Ended`, so that children end and files are put away."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    with _handled_by(on_signal):
        yield


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Handle the signals at the end, for what must not be left in the middle."""
    pending: list[int] = []
    try:
        with _handled_by(lambda number, frame: pending.append(number)):
            yield
    finally:
        for number in pending[:1]:
            signal.raise_signal(number)


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in SIGNALS}
    before = {
        number: usual
        for number, usual in found.items()
        # What `nohup` ignores stays ignored; None is a handler that is not Python's.
        if usual is not None and (usual is not signal.SIG_IGN or number == signal.SIGINT)
    }
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)
