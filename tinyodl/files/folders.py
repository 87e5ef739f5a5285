"""The user's folders: a cache that can be made again, and tinyodl's own records."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """Where tinyodl keeps what it can make again: $XDG_CACHE_HOME/tinyodl, or ~/.cache/tinyodl."""
    return _below("XDG_CACHE_HOME", ".cache")


def state_directory() -> Path:
    """The folder for records no project may make itself: the programs that tinyodl has built.

    $XDG_STATE_HOME/tinyodl, or ~/.local/state/tinyodl.
    """
    return _below("XDG_STATE_HOME", ".local/state")


def _below(variable: str, usual: str) -> Path:
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / usual) / "tinyodl"
