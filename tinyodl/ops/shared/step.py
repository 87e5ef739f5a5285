"""Arguments of calls in net.c's step beside tensors: flags, settings, C text of its own."""

from __future__ import annotations

from tinyodl.ops.shared.calls import Symbol

FLASH_HEADER = 16  # bytes at the beginning of each region of flash: flash.h
FLAGS = Symbol("&flags")  # of the step: flags.h
SKIPPED = "(label < 0 && anomalous)"  # in C: above the threshold, and without a label


def setting(name: str) -> Symbol:
    """A run-time setting as an argument."""
    return Symbol(f"net_settings[NET_SETTING_{name.upper()}]")
