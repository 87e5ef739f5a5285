"""Whether a project fits its board, and what would help if it does not."""

from __future__ import annotations

from tinyodl.errors import DoesNotFitError
from tinyodl.learning.beside import wanted
from tinyodl.learning.beside.record import MemoryKind
from tinyodl.learning.learners import rule_of
from tinyodl.planner.lowering import Lowered
from tinyodl.project.manifest import Manifest


def check_fit(lowered: Lowered, manifest: Manifest, ram: int | None, flash: int | None) -> None:
    """Raise DoesNotFitError, with the largest parts and the remedies, unless the project fits.

    `ram` and `flash` are budgets in bytes, at most the board's.
    """
    board = lowered.board
    ram_limit = min(board.ram.size, ram or board.ram.size)
    flash_limit = min(board.flash.size, flash or board.flash.size)
    if manifest.ram.total > ram_limit:
        held = [(block.nbytes, block.tensors[0]) for block in lowered.arena.blocks]
        held += [(parameter.bytes, parameter.name) for parameter in manifest.parameters]
        largest = ", ".join(f"{name} ({size:,} B)" for size, name in sorted(held)[:-5:-1])
        parts = ", ".join(f"{name} {size:,}" for name, size in manifest.ram.parts.items())
        raise DoesNotFitError(
            f"{manifest.model.source} needs {manifest.ram.total:,} B of RAM ({parts}), "
            f"{board.name} has {ram_limit:,} B; the largest tensors are {largest}; "
            f"{_ram_advice(manifest, ram_limit)}"
        )
    if manifest.flash.total > flash_limit:
        too_much = manifest.flash.total - flash_limit
        advice = "take a smaller model or a board with more flash"
        advice = _of_features(manifest, "flash", board.whole(too_much)) or advice
        parts = ", ".join(f"{name} {size:,}" for name, size in manifest.flash.parts.items())
        raise DoesNotFitError(
            f"{manifest.model.source} needs about {manifest.flash.total:,} B of flash ({parts}), "
            f"{board.name} has {flash_limit:,} B for the program; {advice}"
        )


def _ram_advice(manifest: Manifest, limit: int) -> str:
    learning = [layer for layer in manifest.layers if layer.updates != "none"]
    advice = _of_features(manifest, "RAM", manifest.ram.total - limit)
    if advice:
        return advice
    if len(learning) > 1:
        return "let fewer layers learn (--update last), or take a board with more RAM"
    smaller = rule_of(manifest.plan).smaller
    if smaller:
        return smaller
    if manifest.plan.optimizer != "sgd" or manifest.plan.batch > 1:
        return "use --optimizer sgd with --batch 1, or take a board with more RAM"
    return "take a smaller input or model, or a board with more RAM"


def _of_features(manifest: Manifest, memory: MemoryKind, too_much: int) -> str:
    """Advice on smaller features beside learning that would fit; "" if none would."""
    there = [feature for feature in wanted(manifest.plan) if feature.name in manifest.beside]
    found = (feature.advice(manifest.beside[feature.name], memory, too_much) for feature in there)
    return next((advice for advice in found if advice), "")
