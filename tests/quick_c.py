"""How generated C is compiled where a test is about its results.

The numeric contract gives the same bits at any optimisation, and to optimise takes most of the
time of a test. So one network in eight is compiled as firmware is; a digest of its C picks it, so
that these are of all kinds, and the same ones on every run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tinyodl.firmware import C_FLAGS

QUICK = (
    *("-O0" if flag == "-O2" else flag for flag in C_FLAGS),
    "-Dalways_inline=unused",  # the kernels' attribute, which GCC would obey
)
_ONE_IN = 8


def flags_for(sources: Iterable[str], optimised: bool | None = None) -> tuple[str, ...]:
    """The compiler's options for a network's C; `optimised` says so, else its digest does."""
    if optimised is None:
        optimised = hashlib.sha256("\0".join(sources).encode()).digest()[0] % _ONE_IN == 0
    return C_FLAGS if optimised else QUICK
