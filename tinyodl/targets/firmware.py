"""Sizes that the firmware's fixed parts are built with, and the static RAM they take.

The same numbers go into the generated `config.h` and into the memory prediction, so the two cannot
disagree; a test compares the prediction with the linker map.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinyodl.targets.chips import Family

RECEIVE_RING = 1024  # bytes; a power of two
MAX_BODY = 512  # bytes of a request's or reply's body
STACK_BYTES = 2048  # reserved; the device reports its high-water mark
PROTOCOL = 2  # version of docs/protocol.md

# Static RAM of lib/device and main.c: a request, the reply that is kept, counts and meters. A test
# compares it with what the compilers make of them.
DEVICE_RAM = 2 * MAX_BODY + 144

# Static RAM of lib/net beside the arena and the tensors it keeps: the learning rate and the like.
_NET_RAM = 16

# How all C is compiled, for every board and for the host: these flags are a part of the numeric
# contract (no contraction, no fast-math), so that the same stream gives the same bits everywhere.
# Address 0 counts as memory: GCC 12 (ivopts, from -O1) may write an address in the arena as a
# multiple of another one on top of a null pointer, and would then drop the loop as undefined.
C_FLAGS = (
    "-std=gnu11",
    "-O2",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-delete-null-pointer-checks",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wall",
    "-Wextra",
    "-Werror",
)


def buffer_bytes(family: Family) -> int:
    """Static RAM that does not depend on the network: serial ring, requests, replies, counters."""
    ring = 0 if family.on_host else RECEIVE_RING
    return ring + DEVICE_RAM + family.size.ram + _NET_RAM


def stored_bytes(parameters: Iterable[int], unit: int) -> int:
    """What the store writes into a slot for parameters of so many bytes.

    `unit` is the number of bytes that the chip's flash programs at a time.
    The layout is that of `templates/device/store.h`.
    """
    header = unit + 28
    return sum(-(-size // unit) * unit for size in (header, *parameters))


def stack_bytes(family: Family) -> int:
    """The stack that the linker script reserves; the host build has its operating system's."""
    return 0 if family.on_host else STACK_BYTES
