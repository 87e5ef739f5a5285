"""The bytes of a firmware's code, estimated from the kernels that its network calls.

float32 kernels are compiled into each of their calls; int8 kernels are functions that all layers
share, and take their bytes once. The sizes are in `thumb2_code.toml`, fitted to linked firmware: of
78 such none has more code than the estimate with its `MARGIN`.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from tinyodl.graph import Graph, Phase
from tinyodl.ops import single_calls
from tinyodl.planner.kernel_work import states_of
from tinyodl.targets.chips import Family

MARGIN = 0.2  # of the estimate: no measured firmware has more code
_ONCE, _EACH = 530, 100  # of kernels and calls that were not measured
# Of convolutions whose channels are chosen while the board runs: seven linked firmwares of five
# networks, from 2 % below to 9 % above.
_CHOSEN_ONCE, _CHOSEN_EACH = 10_500, 1_000


def code_bytes(training: Graph, family: Family) -> int:
    """Code and constants without the network's weights, in bytes."""
    sizes = _sizes()
    once, each = sizes["once"], sizes["each"]
    total = family.size.code + int(sizes["base"])
    for part, number in parts_of(training).items():
        kernel = part.removesuffix(" once")
        if kernel != part:
            total += once.get(kernel, 0 if kernel in each else _ONCE)
        else:
            total += number * each.get(part, _EACH)
    if chosen := _chosen_convolutions(training):
        total += _CHOSEN_ONCE + _CHOSEN_EACH * chosen
    return total


def _chosen_convolutions(training: Graph) -> int:
    """The candidates of --update device that have more than one position."""
    return sum(
        "candidate" in node.attrs
        and node.phase is Phase.FORWARD
        and prod(training.shape(node.outputs[0])[2:]) > 1
        for node in training.nodes
    )


@cache
def _sizes() -> Any:
    path = Path(__file__).with_name("thumb2_code.toml")
    return tomllib.loads(path.read_text("utf-8"))


def parts_of(training: Graph) -> Counter[str]:
    """How often the code of each kind is there: of kernels once, of calls and learners each."""
    parts: Counter[str] = Counter()
    for node in training.nodes:
        for call in single_calls(node, training):
            parts[f"{call.function} once"] = 1
            parts[call.function] += 1
        for inner in node.attrs.get("body", (node,)):
            if states := states_of(inner, training):
                parts[f"learner with {states}"] += 1
    return parts
