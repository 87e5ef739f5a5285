"""A compiled network in the process of the tests, with all that the compiler adds to it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostnet import HostNet, build
from tinyodl.boards import load_board
from tinyodl.compiler import compilation
from tinyodl.device.codes import Flag
from tinyodl.graph import parameters
from tinyodl.learning.beside.adding import settings_of
from tinyodl.ops.rows import arriving
from tinyodl.ops.shared.body import in_full
from tinyodl.training import sample_inputs


class CompiledNet(HostNet):
    """What `compile` makes of a model and options, without the board around it."""

    def __init__(self, path: Path, folder: Path, **options: Any) -> None:
        made = compilation(path, load_board("host"), {"seed": 1, **options})
        self.training, self.arena = made.lowered.training, made.lowered.arena
        self.library = build(made.network, folder)
        self.parameters = parameters(self.training)
        arrives = arriving(self.training)
        full = in_full(arrives, self.training) if arrives else self.training
        self.inputs = [full.tensor(name) for name in sample_inputs(full)]
        self.by_rows = arrives is not None
        self.output = self.training.tensor(self.training.outputs[0])
        self.settings = [setting.name for setting in settings_of(made.manifest.plan, self.training)]
        asks = ("net_ask", "net_learn") if "query" in made.manifest.plan.beside else ()
        for name in ("net_evaluate", "net_train", *asks):
            getattr(self.library, name).restype = ctypes.c_float
        self.library.net_flush.restype = ctypes.c_uint32
        self.library.net_reset()

    @property
    def flags(self) -> Flag:
        return Flag(self.library.net_flags())

    def set(self, name: str, value: float) -> None:
        held = (ctypes.c_float * len(self.settings)).in_dll(self.library, "net_settings")
        held[self.settings.index(name)] = value

    def ask(self, x: np.ndarray) -> Flag:
        """The flags of a question."""
        self._write_sample(x)
        self.library.net_ask(ctypes.byref(ctypes.c_float()))
        return self.flags

    def state(self) -> dict[str, bytes]:
        """All that is kept between steps, by name."""
        return {t.name: self.parameter(t.name).tobytes() for t in self.parameters}
