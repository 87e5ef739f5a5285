"""A compiled network in the process of the tests, with all that the compiler adds to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.hostnet import HostNet
from tests.quick_c import flags_of
from tinyodl.compiler import compilation
from tinyodl.host_run.network import HostNetwork
from tinyodl.targets.boards import load_board


class CompiledNet(HostNet):
    """What `compile` makes of a model and options, without the board around it."""

    def __init__(self, path: Path, folder: Path, **options: Any) -> None:
        made = compilation(path, load_board("host"), {"seed": 1, **options}).lowered
        self.arena = made.arena
        flags = flags_of(made.training)
        HostNetwork.__init__(self, made.training, made.arena, made.plan, folder=folder, flags=flags)
