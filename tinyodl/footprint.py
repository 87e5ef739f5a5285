"""RAM and flash that a training graph takes on a board, by what they are for."""

from __future__ import annotations

from collections.abc import Mapping

from tinyodl import firmware
from tinyodl.boards import Board
from tinyodl.feature_cache import cache_of
from tinyodl.graph import Graph, Storage, has_initial
from tinyodl.kernel_files import kernel_files
from tinyodl.memory.arena import ArenaPlan
from tinyodl.outliers import gate_bytes
from tinyodl.project.plan import UpdatePlan
from tinyodl.training import FRACTION, state_name
from tinyodl.watching import KEPT, guard_flash, settings_of


def ram_parts(
    training: Graph, arena: ArenaPlan, board: Board, plan: UpdatePlan
) -> Mapping[str, int]:
    """Bytes of RAM: all that is linked, and the stack that is reserved."""

    def held(storage: Storage) -> int:
        return sum(t.nbytes for t in training.tensors.values() if t.storage is storage)

    learned = [t.name for t in training.tensors.values() if t.storage is Storage.PARAMETER]
    masters = sum(
        training.tensor(name).nbytes
        for name in (state_name(parameter, FRACTION) for parameter in learned)
        if name in training.tensors
    )
    watching = sum(t.nbytes for name, t in training.tensors.items() if name in KEPT)
    settings = len(settings_of(plan, training))
    cache = cache_of(training)
    cached = cache.ram if cache else 0
    return {
        "arena": arena.nbytes,
        "parameters": held(Storage.PARAMETER),
        "masters": masters,
        "optimizer": held(Storage.STATE) - masters - watching - cached,
        "watching": watching + gate_bytes(training, plan) + (4 * settings + 4 if settings else 0),
        "cache": cached,
        "buffers": firmware.buffer_bytes(board.target),
        "stack": firmware.stack_bytes(board.target),
    }


def flash_parts(training: Graph, board: Board) -> Mapping[str, int]:
    """Bytes of flash: constants exactly, code as `firmware.code_bytes` estimates it.

    What the network keeps in flash takes whole units that the board erases.
    """
    weights = sum(
        t.nbytes for t in training.tensors.values() if t.storage is Storage.FLASH or has_initial(t)
    )
    files = kernel_files(training)
    kernels = sum(name.endswith(("_f32.h", "_i8.h")) for name in files)
    nodes = sum(len(node.attrs.get("body", (node,))) for node in training.nodes)
    code = firmware.code_bytes(board.target, kernels, nodes)
    parts = {"weights": weights, "code": code}
    cache = cache_of(training)
    if cache and cache.flash:
        parts["cache"] = board.whole(cache.flash)
    if guard_flash(training):
        parts["guard"] = board.whole(guard_flash(training))
    return parts
