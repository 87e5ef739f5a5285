"""RAM and flash of a training graph on a board, by use."""

from __future__ import annotations

from collections.abc import Mapping

from tinyodl.graph import Graph, Storage, has_initial
from tinyodl.learning.beside import wanted
from tinyodl.learning.beside.adding import settings_of
from tinyodl.learning.candidates import choice_bytes
from tinyodl.learning.outliers import REACH, gate_bytes
from tinyodl.learning.tensors import FRACTION, state_name
from tinyodl.ops.shared.candidate import PLAN
from tinyodl.planner.code_size import code_bytes
from tinyodl.project.plan import UpdatePlan
from tinyodl.targets import firmware
from tinyodl.targets.boards import Board


def ram_parts(training: Graph, arena: int, board: Board, plan: UpdatePlan) -> Mapping[str, int]:
    """Bytes of RAM by use: all linked data, `arena` bytes of them the arena, and the stack."""

    def held(storage: Storage) -> int:
        return sum(t.nbytes for t in training.tensors.values() if t.storage is storage)

    learned = [t.name for t in training.tensors.values() if t.storage is Storage.PARAMETER]
    masters = sum(
        training.tensor(name).nbytes
        for name in (state_name(parameter, FRACTION) for parameter in learned)
        if name in training.tensors
    )
    beside = {"watching": 0, "cache": 0}
    for feature in wanted(plan):
        if feature.ram_part in beside:
            kept = [training.tensors[name] for name in feature.keeps if name in training.tensors]
            beside[feature.ram_part] += sum(tensor.nbytes for tensor in kept)
    if REACH in training.tensors:
        beside["watching"] += training.tensor(REACH).nbytes
    optimizer = held(Storage.STATE) - masters - sum(beside.values())
    settings = len(settings_of(plan, training))
    beside["watching"] += gate_bytes(training) + (4 * settings + 4 if settings else 0)
    choice = {"choice": choice_bytes(training)} if PLAN in training.tensors else {}
    return {
        "arena": arena,
        "parameters": held(Storage.PARAMETER),
        "masters": masters,
        "optimizer": optimizer,
        **beside,
        **choice,
        "buffers": firmware.buffer_bytes(board.target),
        "stack": firmware.stack_bytes(board.target),
    }


def flash_parts(training: Graph, board: Board, plan: UpdatePlan) -> Mapping[str, int]:
    """Bytes of flash: constants exactly, code as `code_size.code_bytes` estimates it.

    The network's own data in flash takes whole erasable units of the board.
    """
    weights = sum(
        t.nbytes for t in training.tensors.values() if t.storage is Storage.FLASH or has_initial(t)
    )
    code = code_bytes(training, board.target)
    parts = {"weights": weights, "code": code}
    for feature in wanted(plan):
        taken = feature.flash(training)
        if taken:
            parts[feature.name] = board.whole(taken)
    return parts
