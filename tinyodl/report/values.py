"""The output of `--json`, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinyodl.learning.losses import expected_labels
from tinyodl.project.manifest import Manifest, described_board
from tinyodl.session.energy import estimate_meter

if TYPE_CHECKING:
    from tinyodl.session.flashing import Flashed
    from tinyodl.session.profiling import Profile


def limits(manifest: Manifest, ram: int | None = None, flash: int | None = None) -> tuple[int, int]:
    """Bytes of RAM and flash that there are: the board's, or the user's budget where smaller."""
    board = described_board(manifest)
    return min(board.ram.size, ram or board.ram.size), min(
        board.flash.size, flash or board.flash.size
    )


def fits(manifest: Manifest, ram: int | None = None, flash: int | None = None) -> bool:
    """Whether the prediction is within the limits."""
    ram_limit, flash_limit = limits(manifest, ram, flash)
    return manifest.ram.total <= ram_limit and manifest.flash.total <= flash_limit


def plan_values(
    manifest: Manifest, ram: int | None = None, flash: int | None = None
) -> dict[str, Any]:
    """A plan: memory in bytes, work in multiply-accumulates of one training step."""
    ram_limit, flash_limit = limits(manifest, ram, flash)
    calibration = manifest.model.calibration
    return {
        "model": manifest.model.source,
        "model_id": manifest.model_id,
        "notes": list(manifest.model.notes),
        "board": manifest.board,
        "fits": fits(manifest, ram, flash),
        "ram_bytes": manifest.ram.model_dump(),
        "ram_limit": ram_limit,
        "flash_bytes": manifest.flash.model_dump(),
        "flash_limit": flash_limit,
        "arena_bytes": manifest.arena.bytes,
        "arena_lower_bound": manifest.arena.lower_bound,
        "macs_forward": manifest.macs.forward,
        "macs_backward": manifest.macs.backward,
        "macs_update": manifest.macs.update,
        "estimated_cycles": _estimated_cycles(manifest),
        "calibration": calibration.model_dump(mode="json") if calibration else None,
        "labels": expected_labels(manifest),
        "training": manifest.plan.model_dump(mode="json", exclude={"layers"}),
        "choice": manifest.choice.model_dump(mode="json") if manifest.choice else None,
        "layers": [layer.model_dump(mode="json") for layer in manifest.layers],
        "learned_together": [shared.model_dump(mode="json") for shared in manifest.shared],
    }


def _estimated_cycles(manifest: Manifest) -> dict[str, Any] | None:
    """The planner's estimate of a step, with time and energy; None where there is none."""
    estimate = manifest.estimate
    if estimate is None or estimate.none:
        return None
    meter = estimate_meter(described_board(manifest))
    return {
        "forward": estimate.forward,
        "backward": estimate.backward,
        "update": estimate.update,
        "step_ms": meter.ms(estimate.step),
        "step_mj": meter.mj(estimate.step),
        "time_source": meter.time_source,
        "energy_source": meter.energy_source,
    }


def flashed_values(flashed: Flashed) -> dict[str, Any]:
    """A board that answered, and its predicted and linked sizes in bytes."""
    return {
        "board": flashed.manifest.board,
        "port": flashed.port,
        "model_id": flashed.manifest.model_id,
        "uploaded": flashed.uploaded,
        "answered": True,
        "learned_from": flashed.learned_from,
        "saved_generation": flashed.generation,
        "compiler": flashed.build.compiler,
        "ram_bytes": {
            "predicted": flashed.manifest.ram.total,
            "linked": flashed.build.ram_bytes,
        },
        "flash_bytes": {
            "predicted": flashed.manifest.program_flash,
            "linked": flashed.build.flash_bytes,
        },
    }


def profile_values(profile: Profile) -> dict[str, Any]:
    """A profile: counts of a step and of each phase, then node by node in the order of execution.

    A node's `within` is the index in `nodes` of the node with this one in its body. `share` is its
    share of the step's cycles; cycles between nodes belong to none. If the virtual board has no
    model of its processor's cycles, cycles are 0, and shares are of instructions.
    """
    index = {id(cost.node): at for at, cost in enumerate(profile.nodes)}
    return {
        "board": profile.manifest.board,
        "model_id": profile.manifest.model_id,
        "compiler": profile.compiler,
        "sample": profile.sample,
        "step": vars(profile.step),
        "phases": {
            phase: {**vars(total), "between_nodes": vars(profile.between[phase])}
            for phase, total in profile.total.items()
        },
        "code_bytes": profile.code_bytes,
        "code_bytes_between_nodes": profile.code_between,
        "code_bytes_shared": dict(profile.shared_code),
        "nodes": [
            {
                "op": cost.node.op,
                "name": cost.node.name,
                "phase": cost.phase.value,
                "within": index[id(cost.within)] if cost.within else None,
                "macs": cost.node.macs,
                **vars(cost.count),
                "share": cost.count.share_of(profile.step),
                "code_bytes": cost.code_bytes,
            }
            for cost in profile.nodes
        ],
    }
