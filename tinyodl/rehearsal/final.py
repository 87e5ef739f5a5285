"""The choice once more, in the order of recording: what the stream will do to it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyodl.compiler import compilation
from tinyodl.errors import DataError
from tinyodl.host_run.network import HostNetwork
from tinyodl.planner.lowering import Lowered
from tinyodl.rehearsal.choice import FROZEN
from tinyodl.rehearsal.material import Material
from tinyodl.rehearsal.problem import Problem
from tinyodl.rehearsal.work import Tried
from tinyodl.targets.firmware import C_FLAGS

_QUICK = tuple("-O1" if flag == "-O2" else flag for flag in C_FLAGS)


@dataclass(frozen=True)
class Final:
    """All samples learned once, in the order of recording.

    learning   the share predicted right, each before it was learned: no evidence where labels come
               in blocks
    tested     the share of the other day's samples predicted right afterwards; None without any
    kept       the share of old samples predicted right afterwards; None without any
    predicted  the predictions while learning, as a board makes them
    """

    name: str
    learning: float
    tested: float | None
    kept: float | None
    predicted: tuple[int, ...]


def finals(problem: Problem, tested: Material | None, taken: Tried) -> tuple[Final, ...]:
    """The choice, and before it the network that learns nothing, where it can be asked."""
    made = []
    if taken.candidate != FROZEN:
        with contextlib.suppress(DataError):  # a label that the model as it is does not have
            made.append(_final(problem, tested, FROZEN, {"update": FROZEN}, False))
    made.append(_final(problem, tested, taken.name, taken.options, taken.started))
    return tuple(made)


def _final(
    problem: Problem, tested: Material | None, name: str, given: Mapping[str, Any], started: bool
) -> Final:
    samples = problem.samples
    lowered = lowered_for(problem, given, started)
    with HostNetwork.of(lowered, flags=_QUICK) as net:
        predicted = net.train_all(samples.x, samples.y).predicted
        net.settle()
        return Final(
            name=name,
            learning=float((predicted == samples.y).mean()),
            tested=_right(net, tested),
            kept=_right(net, problem.kept),
            predicted=tuple(predicted.tolist()),
        )


def lowered_for(problem: Problem, given: Mapping[str, Any], started: bool) -> Lowered:
    """The problem's model under the options of a candidate."""
    with problem.on_disk() as (model, options):
        options |= given
        if started:
            options["start"] = problem.started_from(model.parent)
        return compilation(model, problem.board, options).lowered  # type: ignore[arg-type]


def _right(net: HostNetwork, material: Material | None) -> float | None:
    if material is None:
        return None
    return float(np.mean(net.evaluate_all(material.x, material.y).predicted == material.y))
