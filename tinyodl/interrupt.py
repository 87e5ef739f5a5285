"""Ctrl-C as a wish: a stream ends between two samples, so that nothing is left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):  # noqa: N818 (not an error: the user asked for it)
    """The user wants to stop; raised by `Wish.check` only."""


class Wish:
    """Whether the user wants to stop."""

    def __init__(self) -> None:
        self.stop = False

    def check(self) -> None:
        """Raise Interrupted if Ctrl-C was pressed since the last look."""
        if self.stop:
            raise Interrupted


@contextmanager
def interruptible() -> Iterator[Wish]:
    """Collect SIGINT and SIGTERM instead of raising; a second one ends the program at once.

    Outside the main thread, where Python delivers no signals, this changes nothing.
    """
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def on_signal(number: int, frame: FrameType | None) -> None:
        if wish.stop:
            raise KeyboardInterrupt
        wish.stop = True

    try:
        for number in signals:
            signal.signal(number, on_signal)
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
