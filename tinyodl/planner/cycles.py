"""The modelled cycles of a training step, from its graph: nothing is built or run.

    cycles = coefficient * count, summed over what a node's kernels do

The counts are those of `kernel_work`. The coefficients are in `PROCESSOR_cycles.toml` beside this
file, fitted to what the virtual board counts of whole networks by `benchmarks/cycles.py`, which
also checks them with other networks. So this is an estimate of modelled cycles: a run on the
virtual board counts them, and silicon has been compared with neither.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinyodl.graph import Graph, Phase
from tinyodl.planner.kernel_work import work_of

Coefficients = Mapping[str, Mapping[str, float]]  # by kernel, then by what it does

_PHASES = "phases"  # what lies between the nodes: calls, and the marks of the phases


@dataclass(frozen=True)
class Cycles:
    """The modelled cycles of a step, an estimate.

    nodes   of each node of the training graph, in order
    phases  of each phase, what lies between the nodes included
    """

    nodes: tuple[float, ...]
    phases: Mapping[Phase, int]

    @property
    def step(self) -> int:
        """Of a step that learns."""
        return sum(self.phases.values())

    @property
    def forward(self) -> int:
        """Of the forward pass alone."""
        return self.phases[Phase.FORWARD]


def modelled_cycles(training: Graph, table: Coefficients) -> Cycles | tuple[str, ...]:
    """The cycles of a step, or the kernels that the table does not have."""
    work = [work_of(node, training) for node in training.nodes]
    unknown = sorted({w.kernel for of_node in work for w in of_node} - table.keys())
    if unknown:
        return tuple(unknown)
    nodes = tuple(
        sum(table[w.kernel].get(what, 0.0) * n for w in of_node for what, n in w.counts.items())
        for of_node in work
    )
    between = table[_PHASES]
    phases = {}
    for phase in Phase:
        own = [c for c, node in zip(nodes, training.nodes, strict=True) if node.phase is phase]
        around = between["calls"] + between["nodes"] * len(own) if own else 0
        phases[phase] = round(sum(own) + around)
    return Cycles(nodes, phases)


@cache
def coefficients(processor: str) -> Coefficients:
    """Cycles by kernel and by what it does; empty where the processor has no table."""
    path = table_of(processor)
    if not processor or not path.is_file():
        return {}
    found: Coefficients = tomllib.loads(path.read_text("utf-8"))["cycles"]
    return found


def table_of(processor: str) -> Path:
    """The file with a processor's coefficients."""
    return Path(__file__).with_name(f"{processor.replace('-', '_')}_cycles.toml")
