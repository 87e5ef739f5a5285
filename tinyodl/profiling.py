"""`tinyodl profile`: what each node of a training step costs, on the virtual board.

The generated `net.c` says where the code of each node begins with a symbol: the ordinary firmware
is what is counted, from one symbol to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tinyodl import data, pio, virtual
from tinyodl import manifest as manifest_file
from tinyodl.boards import load_board
from tinyodl.device.client import Client
from tinyodl.graph import Array
from tinyodl.manifest import Manifest, NodeRecord
from tinyodl.virtual import Count

STEP_PHASES = ("forward", "backward", "update")
_SYMBOL = re.compile(r"net_node_(\w+)\.(\d+)")
_NO_NODE = "none"


@dataclass(frozen=True)
class NodeCost:
    """A node and what it cost in one step. `within` is the node whose body it is in, else None."""

    node: NodeRecord
    within: NodeRecord | None
    count: Count


@dataclass(frozen=True)
class Profile:
    """One training step, node by node; an evaluation where nothing learns.

    `between` is what belongs to no node, by phase: calls, and the marks of the phases. With the
    nodes' counts it makes `total`, the firmware's own counters.
    """

    manifest: Manifest
    compiler: str
    sample: str  # where it came from
    nodes: tuple[NodeCost, ...]
    between: dict[str, Count]
    total: dict[str, Count]


def profile(project: Path, samples: Path | None = None) -> Profile:
    """Build `project`, and count a step of its network that learns from the file's first sample.

    Without a file the sample is zeros with label 0. The weights are those of the ONNX file, and
    what the project's virtual board has saved stays. With a batch, it is the step that updates.
    Raises UserError when the board has no virtual one, DataError for samples that do not fit,
    ToolError when building fails or the virtual board is not installed.
    """
    manifest = manifest_file.load(project)
    board = load_board(manifest.board)
    virtual.require(board, "virtual")
    x, label, source = _sample(manifest, samples)
    build = pio.build(project, board)
    counts: dict[tuple[str, str], Count] = {}
    with virtual.boot(project, board, store=False, places=_places(build.elf)) as transport:
        client = Client(transport, manifest)
        step = client.train if manifest.parameters else client.evaluate
        for _ in range(manifest.plan.batch):
            before = transport.counters_by_place()
            step(x, label)
            after = transport.counters_by_place()
        for key, count in after.items():
            counts[key] = count - before.get(key, Count())
    total = {phase: _sum(n for (p, _), n in counts.items() if p == phase) for phase in STEP_PHASES}
    between = {
        phase: _sum(n for (p, place), n in counts.items() if p == phase and place in ("", _NO_NODE))
        for phase in STEP_PHASES
    }
    nodes = []
    for place, node, within in _numbered(manifest):
        at = (n for (p, name), n in counts.items() if name == place and p in STEP_PHASES)
        nodes.append(NodeCost(node, within, _sum(at)))
    return Profile(manifest, build.compiler, source, tuple(nodes), between, total)


def _sum(counts: Iterable[Count]) -> Count:
    return sum(counts, start=Count())


def _sample(manifest: Manifest, path: Path | None) -> tuple[Array, Array, str]:
    if path is not None:
        samples = data.load(path, manifest)
        return samples.x[0], samples.y[0], samples.source
    model = manifest.model
    zeros = np.zeros(model.input_shape, np.float32)
    target = np.zeros(model.output_shape, np.float32) if manifest.target_bytes else np.array(0)
    return zeros, target, "zeros"


def _numbered(manifest: Manifest) -> list[tuple[str, NodeRecord, NodeRecord | None]]:
    """Nodes in their order, by what net.c calls them: step, or step_place inside a body."""
    found: list[tuple[str, NodeRecord, NodeRecord | None]] = []
    for step, node in enumerate(manifest.schedule):
        found.append((str(step), node, None))
        found += [(f"{step}_{at}", inner, node) for at, inner in enumerate(node.body)]
    return found


def _places(elf: Path) -> dict[int, str]:
    """Where nodes begin, by address: of several at one address all but the last are empty."""
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)  # the virtual board has required it
        symbols = [(s.name, s["st_value"] & ~1) for s in table.iter_symbols()]
    found = [(int(m[2]), m[1], at) for name, at in symbols if (m := _SYMBOL.fullmatch(name))]
    return {address: place for _, place, address in sorted(found)}
