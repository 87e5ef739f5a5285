"""`tinyodl profile`: what each node of a training step costs, on the virtual board.

It is the ordinary firmware that is counted, from one place in the network's code to the next: see
`tinyodl.virtual.node_code`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyodl import pio, virtual
from tinyodl.device.client import Client
from tinyodl.errors import UserError
from tinyodl.files import built_here
from tinyodl.files.project_files import lock_project
from tinyodl.graph import Array, Phase
from tinyodl.project import manifest as manifest_file
from tinyodl.project.manifest import Manifest, NodeRecord
from tinyodl.runs.record import PHASES
from tinyodl.samples import data
from tinyodl.targets.boards import Board
from tinyodl.virtual import Count
from tinyodl.virtual.image import load_image

Counts = Mapping[tuple[str, str], Count]  # by phase and place


@dataclass(frozen=True)
class NodeCost:
    """A node, its costs in a step, and the bytes of its code.

    `within` is the node with this one in its body, taking turns with others, or None. The run time
    of a shared function counts for the node that called it; its code is in no node's bytes.
    """

    node: NodeRecord
    within: NodeRecord | None
    count: Count
    code_bytes: int

    @property
    def phase(self) -> Phase:
        """The phase in which it runs: a node in the body of another runs in the other's phase."""
        return (self.within or self.node).phase


@dataclass(frozen=True)
class Profile:
    """One training step, node by node; an evaluation where nothing learns.

    `total` has the costs of the firmware's phases: for each, the sum over its nodes plus `between`,
    the part of no node, such as calls and the marks of the phases. `shared_code` has the bytes of
    functions called by several nodes, by name; `code_between` is the code around the nodes' code.
    """

    manifest: Manifest
    compiler: str
    sample: str  # the file that it is from, or "zeros"
    nodes: tuple[NodeCost, ...]
    between: Mapping[str, Count]  # by phase
    total: Mapping[str, Count]
    shared_code: Mapping[str, int]
    code_between: int

    @property
    def step(self) -> Count:
        """All phases together."""
        return _sum(self.total.values())

    @property
    def code_bytes(self) -> int:
        """Bytes of all the network's code."""
        nodes = sum(cost.code_bytes for cost in self.nodes)
        return nodes + sum(self.shared_code.values()) + self.code_between


def profile_project(project: Path, samples: Path | None = None) -> Profile:
    """Build `project`, and count one step that learns from the first sample of a file.

    Without a file the sample is zeros, with label 0. The weights are the ONNX file's; the saved
    state of the project's virtual board is left alone. In a batch it is the last step, the one with
    the update. Raises UserError when the board has no virtual one, or the project was neither
    compiled nor flashed here, InUseError while another has it, DataError for samples that do not
    fit, ToolError when building fails or the virtual board is not installed.
    """
    with contextlib.ExitStack() as stack:
        if (lock := lock_project(project)) is not None:
            stack.enter_context(lock)
        return _profile(project, samples)


def _profile(project: Path, samples: Path | None) -> Profile:
    manifest = manifest_file.load(project)
    board = manifest_file.board_of(manifest)
    if "virtual" not in board.virtual:
        raise UserError(
            f"{board.title} has no virtual board to profile on; compile the model for one of "
            f"{', '.join(virtual.boards_with('virtual'))}"
        )
    x, label, source = _sample(manifest, samples)
    built_here.require_known_sources(project)
    build = pio.build(project, board)
    counts = _counted_step(project, board, manifest, x, label)
    # Not before the virtual board is known to be installed.
    from tinyodl.virtual.node_code import NO_NODE, code_of

    code = code_of(load_image(build.elf))
    if not code.own:
        raise UserError(f"{project} was made by an older tinyodl; compile the model again")
    costs = tuple(
        NodeCost(node, within, _sum(_at(place, counts)), code.own.get(place, 0))
        for place, node, within in _numbered(manifest)
    )
    nowhere = ("", NO_NODE)  # before the first node of all, and behind others
    between = {p: _sum(counts.get((p, at), Count()) for at in nowhere) for p in PHASES}
    total = {p: _sum(count for (of, _), count in counts.items() if of == p) for p in PHASES}
    return Profile(manifest, build.compiler, source, costs, between, total, code.shared, code.rest)


def _sample(manifest: Manifest, path: Path | None) -> tuple[Array, int | Array, str]:
    if path is not None:
        samples = data.load(path, manifest)
        return samples.x[0], samples.y[0], samples.source
    model = manifest.model
    target = np.zeros(model.output_shape, np.float32) if manifest.target_bytes else 0
    return np.zeros(model.input_shape, np.float32), target, "zeros"


def _counted_step(
    project: Path, board: Board, manifest: Manifest, x: Array, label: int | Array
) -> Counts:
    """The counts of one step, by phase and place."""
    with virtual.boot(project, board, profiling=True) as transport:
        client = Client(transport, manifest)
        step = client.train if manifest.parameters else client.evaluate
        for _ in range(manifest.plan.batch):
            before = transport.counters_by_place()
            step(x, label)
        after = transport.counters_by_place()
    return {key: count - before.get(key, Count()) for key, count in after.items()}


def _at(place: str, counts: Counts) -> Iterator[Count]:
    return (count for (phase, at), count in counts.items() if at == place and phase in PHASES)


def _sum(counts: Iterable[Count]) -> Count:
    return sum(counts, start=Count())


def _numbered(manifest: Manifest) -> Iterator[tuple[str, NodeRecord, NodeRecord | None]]:
    """The nodes in their order: the place of each, and the node that has it in its body."""
    for step, node in enumerate(manifest.schedule):
        yield str(step), node, None
        for number, inner in enumerate(node.body):
            yield f"{step}_{number}", inner, node
