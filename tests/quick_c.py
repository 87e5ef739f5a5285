"""How generated C is compiled where a test is about its results.

The numeric contract gives the same bits at any optimisation, and to optimise takes most of the
time of a test. So one network in eight is compiled as firmware is; a digest of what it computes
picks it, so that these are of all kinds, and the same ones on every run.
"""

from __future__ import annotations

import hashlib

from tinyodl.graph import Graph
from tinyodl.targets.firmware import C_FLAGS

QUICK = (
    *("-O0" if flag == "-O2" else flag for flag in C_FLAGS),
    "-Dalways_inline=unused",  # the kernels' attribute, which GCC would obey
)
_ONE_IN = 8


def flags_for(text: str, optimised: bool | None = None) -> tuple[str, ...]:
    """The compiler's options for the C that `text` stands for.

    `optimised` says whether these are the firmware's; if it is None, the digest of `text` does.
    """
    if optimised is None:
        optimised = hashlib.sha256(text.encode()).digest()[0] % _ONE_IN == 0
    return C_FLAGS if optimised else QUICK


def flags_of(graph: Graph, optimised: bool | None = None) -> tuple[str, ...]:
    """The compiler's options for a training graph, which its nodes and shapes stand for."""
    shapes = [[graph.shape(name) for name in node.inputs if name] for node in graph.nodes]
    return flags_for(f"{graph.nodes} {shapes}", optimised)
