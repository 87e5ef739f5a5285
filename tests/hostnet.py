"""A graph that a test made, under a plan, as a network in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.quick_c import flags_of
from tinyodl.graph import Graph
from tinyodl.host_run.network import HostNetwork
from tinyodl.learning.beside.adding import with_features
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import plan_arena
from tinyodl.project.plan import UpdatePlan


class HostNet(HostNetwork):
    """`passes` go over the training graph. A sample goes in, in pieces of at most `piece` bytes.

    `optimised` C is the firmware's; where it is not said, one network in eight has it.
    """

    piece = 1 << 30

    def __init__(
        self,
        graph: Graph,
        plan: UpdatePlan,
        folder: Path,
        compiler=("gcc",),
        passes=(),
        seen=None,
        optimised=None,
        **start,
    ) -> None:
        training = with_features(differentiate(graph, plan, **start), plan, seen)
        for improve in passes:
            training = improve(training)
        self.arena = plan_arena(training)
        flags = flags_of(training, optimised)
        super().__init__(training, self.arena, plan, folder=folder, compiler=compiler, flags=flags)

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        return [tensor.shape for tensor in self.layout.inputs]

    def _write(self, index: int, values: np.ndarray) -> None:
        raw = values.tobytes()
        for offset in range(0, len(raw), self.piece):
            piece = raw[offset : offset + self.piece]
            self.library.net_receive(index, offset, piece, len(piece))
