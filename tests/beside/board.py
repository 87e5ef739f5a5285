"""A generated network with what it computes beside learning, and what its tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.hostnet import HostNet
from tests.ops.test_recursive_least_squares import LAYER, dense
from tinyodl.device.client import Client
from tinyodl.device.codes import Command, Flag, Status
from tinyodl.device.refusals import RefusedError
from tinyodl.learning.beside.record import Seen
from tinyodl.project.plan import UpdatePlan
from tinyodl.resources import EXAMPLES

RULES = {
    "rls": {"optimizer": "rls", "loss": "one-hot"},
    "sgd": {"learning_rate": 0.05},
    "adam in batches": {"optimizer": "adam", "batch": 4},
    "sigmoid": {"loss": "binary-cross-entropy", "learning_rate": 0.2},
}


class Watched(HostNet):
    """A network with what a plan lets it compute beside learning."""

    def __init__(self, graph, plan: UpdatePlan, folder: Path, seen: Seen | None = None) -> None:
        super().__init__(graph, plan, folder, seen=seen)

    def ask(self, x) -> tuple[float, float, Flag]:
        """(margin, threshold, flags)"""
        found = super().ask(x)
        return found.margin, found.threshold, found.flags

    def set(self, name: str, value: float) -> None:
        self.setting(name, value)


def net(folder, inputs=5, outputs=3, seen=None, rule="rls", **options) -> Watched:
    plan = UpdatePlan(layers={LAYER: "weights"}, **{**RULES[rule], **options})
    folder.mkdir(exist_ok=True)
    after = "Sigmoid" if rule == "sigmoid" else "Identity"
    return Watched(dense(folder, inputs, outputs, after=after), plan, folder / "net", seen)


def person(number, part):
    with np.load(EXAMPLES / "watch" / f"person{number}_{part}.npz") as data:
        return data["x"].astype(np.float32), data["y"].astype(int)


def index_of(session, name):
    return [record.name for record in session.manifest.parameters].index(name)


def refusal(client: Client, command: Command, body: bytes = b"") -> Status:
    with pytest.raises(RefusedError) as error:
        client._request(command, body)
    return error.value.status
