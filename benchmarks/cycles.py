"""The planner's estimate of a step's cycles: fits its coefficients, and shows how far it is off.

    .venv/bin/python -m benchmarks.cycles fit [--keep FOLDER]
    .venv/bin/python -m benchmarks.cycles check [--keep FOLDER] [MODEL.onnx ...]

`fit` counts the steps of the networks in `cycle_networks.py` on the virtual board, node by node,
and writes the coefficients beside `tinyodl/planner/cycles.py`. Renew them after a change of a
kernel, of the compiler's flags or of the compiler. `check` compares the estimate with the counts of
other networks, by default the shared models, which are not part of the project and are looked for
beside it. With --keep, counts are kept as files and not made again.

The fit is a least-squares one of relative errors without negative coefficients; each is drawn
weakly towards a usual value, so that what the networks do not tell apart stays sensible.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinyodl
from benchmarks.cycle_networks import NETWORKS, Network
from tinyodl.compiler import compilation
from tinyodl.errors import DoesNotFitError
from tinyodl.graph import Array
from tinyodl.planner.cycles import Coefficients, coefficients, modelled_cycles, table_of
from tinyodl.planner.kernel_work import Work, work_by_place
from tinyodl.planner.lowering import Lowered
from tinyodl.targets.boards import load_board
from tinyodl.targets.firmware import C_FLAGS

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "models"
BOARDS = ("nrf52840_dk", "nucleo_l4r5zi")  # the second where the first is too small
PROCESSOR = "cortex-m4"

# Cycles that a thing usually takes, and how much a fit is drawn to it: relative errors of 1.
USUAL = {"calls": 100.0, "turns": 60.0, "products": 2.0, "loads": 1.5, "macs": 2.0}
USUALLY = 8.0
DRAWN = 0.01


@dataclass(frozen=True)
class Counted:
    """A step of a network: the work and the cycles at each place, and the cycles of each phase."""

    name: str
    lowered: Lowered
    places: tuple[tuple[tuple[Work, ...], float], ...]
    phases: Mapping[str, float]


def fitting_plans() -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Networks, whether they are int8, and options."""
    for name in NETWORKS:
        for int8 in (False, True)[: 1 if name == "normalized" else 2]:
            loss = {"loss": "mse"} if name == "autoencoder" else {}
            yield name, int8, {"update": "full"} | loss
    for int8 in (False, True):
        for name in ("inverted", "spectrogram", "deep", "mlp"):
            yield name, int8, {"update": "bias"}
        for name in ("image", "inverted", "large maps", "motion"):
            yield name, int8, {"update": "last"}
        for name in ("mlp", "spectrogram", "motion"):
            for optimizer in ("sgd", "momentum", "adam"):
                for batch in (1, 2):
                    if (optimizer, batch) != ("sgd", 1):
                        options = {"optimizer": optimizer, "batch": batch}
                        yield name, int8, {"update": "full"} | options
    for name in ("mlp", "spectrogram"):
        for master in ("none", "float32"):
            for optimizer in ("sgd", "momentum"):
                options = {"optimizer": optimizer, "master": master}
                yield name, True, {"update": "full"} | options


def counted(model: Path, options: dict[str, Any], keep: Path | None) -> Counted | None:
    """A step as the virtual board counts it; None where it fits on no board."""
    name = ".".join([model.stem, *(f"{key}={options[key]}" for key in sorted(options))])
    kept = keep / f"{name}.json" if keep else None
    if kept and kept.is_file():
        found = json.loads(kept.read_text())
    else:
        found = _count(model, options)
        if kept:
            kept.write_text(json.dumps(found))
    if not found:
        return None
    lowered = compilation(model, load_board(found["board"]), options).lowered
    training = lowered.training
    work = [place for node in training.nodes for place in work_by_place(node, training)]
    return Counted(name, lowered, tuple(zip(work, found["nodes"], strict=True)), found["phases"])


def _count(model: Path, options: dict[str, Any]) -> dict[str, Any]:
    for board in BOARDS:
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder) / "project"
            try:
                tinyodl.compile(model, board, project, **options)
            except DoesNotFitError:
                continue
            profile = tinyodl.profile(project)
            return {
                "board": board,
                "nodes": [cost.count.cycles for cost in profile.nodes],
                "phases": {phase: count.cycles for phase, count in profile.total.items()},
            }
    return {}


def fitted(steps: list[Counted]) -> dict[str, dict[str, float]]:
    """The coefficients by kernel and by what it does."""
    rows = [(work, cycles) for step in steps for work, cycles in step.places if work and cycles]
    for step in steps:
        rows += [_between(step, phase) for phase in step.phases if phase != "idle"]
    rows = [(work, cycles) for work, cycles in rows if cycles > 0]
    columns: dict[tuple[str, str], int] = {}
    for work, _ in rows:
        for of in work:
            for what in of.counts:
                columns.setdefault((of.kernel, what), len(columns))
    matrix, right = np.zeros((len(rows), len(columns))), np.ones(len(rows))
    for row, (work, cycles) in enumerate(rows):
        for of in work:
            for what, number in of.counts.items():
                matrix[row, columns[of.kernel, what]] += number / max(cycles, 50)
        right[row] = cycles / max(cycles, 50)
    drawn = np.diag([DRAWN / USUAL.get(what, USUALLY) for _, what in columns])
    found = non_negative(
        np.vstack([matrix, drawn]), np.concatenate([right, np.full(len(columns), DRAWN)])
    )
    made: dict[str, dict[str, float]] = {}
    for (kernel, what), column in columns.items():
        made.setdefault(kernel, {})[what] = float(found[column])
    return made


def _between(step: Counted, phase: str) -> tuple[tuple[Work, ...], float]:
    """What a phase takes that is at no node."""
    training = step.lowered.training
    ends = np.cumsum([len(work_by_place(node, training)) for node in training.nodes])
    sums = np.add.reduceat([cycles for _, cycles in step.places], np.concatenate([[0], ends[:-1]]))
    own = [c for c, node in zip(sums, training.nodes, strict=True) if node.phase == phase]
    around = float(step.phases.get(phase, 0) - sum(own)) if own else 0.0
    return (Work("phases", {"calls": 1, "nodes": len(own)}),), around


def non_negative(matrix: Array, right: Array) -> Array:
    """The least-squares solution without negative elements, by Lawson and Hanson's algorithm."""
    scale = np.linalg.norm(matrix, axis=0)
    matrix = matrix / scale
    gram, target = matrix.T @ matrix, matrix.T @ right
    found = np.zeros(len(target))
    free = np.zeros(len(target), bool)
    while True:
        slope = np.where(free, -1.0, target - gram @ found)
        if slope.max() < 1e-9:
            return found / scale
        free[slope.argmax()] = True
        while True:
            at = np.flatnonzero(free)
            tried = np.zeros(len(target))
            tried[at] = np.linalg.solve(gram[np.ix_(at, at)], target[at])
            if (tried[at] > 0).all():
                break
            low = at[tried[at] <= 0]
            found += (found[low] / (found[low] - tried[low])).min() * (tried - found)
            free &= found > 1e-12
            found[~free] = 0.0
        found = tried


def written(made: Mapping[str, Mapping[str, float]], compiler: str) -> str:
    """The file of coefficients."""
    lines = [
        "# Cycles on a Cortex-M4F by kernel, and by what it does: see kernel_work.py.",
        "# Fitted by benchmarks/cycles.py to the virtual board's counts of its networks, with",
        f"# {compiler} {' '.join(flag for flag in C_FLAGS if not flag.startswith('-W'))}",
        "",
    ]
    for kernel, rates in sorted(made.items()):
        lines.append(f'[cycles."{kernel}"]')
        lines += [f"{_key(what)} = {rate:.4g}" for what, rate in rates.items() if rate > 1e-9]
        lines.append("")
    return "\n".join(lines)


def _key(what: str) -> str:
    return what if re.fullmatch(r"[\w-]+", what) else f'"{what}"'


def fit(keep: Path | None) -> None:
    """Count, fit, and write the file."""
    steps = []
    with tempfile.TemporaryDirectory() as folder:
        for name, int8, options in fitting_plans():
            shape, make = NETWORKS[name]
            stem = f"{name.replace(' ', '_')}_{'int8' if int8 else 'f32'}"
            model = make(Network(int8, *shape)).save(Path(folder) / f"{stem}.onnx")
            step = counted(model, options, keep)
            if step:
                print(step.name, flush=True)
                steps.append(step)
    made = fitted(steps)
    table_of(PROCESSOR).write_text(written(made, tinyodl.pio.find_arm_compiler().title))
    _report(steps, made)


def check(models: list[Path], keep: Path | None) -> None:
    """Compare the estimate with counts of other networks."""
    steps = []
    for model in models or sorted(SHARED.glob("*.onnx")):
        for update in ("last", "bias", "full"):
            options: dict[str, Any] = {"update": update}
            if {"ae", "autoencoder"} & set(model.stem.split("_")):
                options["loss"] = "mse"
            step = counted(model, options, keep)
            if step:
                steps.append(step)
    _report(steps, coefficients(PROCESSOR))


def _report(steps: list[Counted], table: Coefficients) -> None:
    """A row for each step, then the errors of all."""
    print("| network and plan | counted, cycles | estimate | error | forward: error |")
    print("|---|--:|--:|--:|--:|")
    errors, forward = [], []
    for step in steps:
        found = modelled_cycles(step.lowered.training, table)
        whole = sum(cycles for phase, cycles in step.phases.items() if phase != "idle")
        if isinstance(found, tuple):
            print(f"| {step.name} | {whole:,} | none: {', '.join(found)} | | |")
            continue
        errors.append(found.step / whole - 1)
        forward.append(found.forward / step.phases["forward"] - 1)
        print(f"| {step.name} | {whole:,} | {found.step:,} | {100 * errors[-1]:+.1f} % "
              f"| {100 * forward[-1]:+.1f} % |")  # fmt: skip
    for name, off in (("step", errors), ("forward pass", forward)):
        sizes = sorted(map(abs, off))
        print(f"{name}: median error {100 * statistics.median(sizes):.1f} %, "
              f"largest {100 * sizes[-1]:.1f} %, {len(sizes)} networks and plans")  # fmt: skip


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("fit", "check"))
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    if given.what == "fit":
        fit(given.keep)
    else:
        check(given.models, given.keep)


if __name__ == "__main__":
    main()
