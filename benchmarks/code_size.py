"""The planner's estimate of a firmware's code: fits its sizes, and shows how far it is off.

    .venv/bin/python -m benchmarks.code_size --keep FOLDER

Links the networks of `cycle_networks.py` and the shared models, where they are, and writes the
sizes beside `tinyodl/planner/code_size.py`. All take part in the fit; another table shows the
shared models by a fit without them. In FOLDER the bytes that were linked are kept as files.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinyodl
from benchmarks.cycle_networks import NETWORKS, Network
from benchmarks.cycles import BOARDS, SHARED, fitting_plans, non_negative
from tinyodl import pio
from tinyodl.compiler import compilation
from tinyodl.errors import DoesNotFitError
from tinyodl.planner.code_size import parts_of
from tinyodl.targets.boards import load_board

FILE = Path(tinyodl.__file__).parent / "planner" / "thumb2_code.toml"
DRAWN = 0.02  # relative errors of 1: how much a size is drawn to the usual one


@dataclass(frozen=True)
class Linked:
    """The code of a linked network beside its weights, of which `family` is the port's."""

    name: str
    shared: bool
    parts: Counter[str]
    code: int
    family: int


def linked(model: Path, options: dict[str, Any], keep: Path, shared: bool) -> Linked | None:
    """A network's firmware; None where it fits on no board."""
    name = ".".join([model.stem, *(f"{key}={options[key]}" for key in sorted(options))])
    kept = keep / f"{name}.txt"
    if not kept.is_file():
        kept.write_text(_link(model, options))
    if not (found := kept.read_text().split()):
        return None
    board = load_board(found[0])
    lowered = compilation(model, board, options).lowered
    code = int(found[1]) - lowered.flash["weights"]
    return Linked(name, shared, parts_of(lowered.training), code, board.target.size.code)


def _link(model: Path, options: dict[str, Any]) -> str:
    for board in BOARDS:
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder) / "project"
            try:
                tinyodl.compile(model, board, project, **options)
            except DoesNotFitError:
                continue
            return f"{board} {pio.build(project, load_board(board)).flash_bytes}"
    return ""


def fitted(rows: list[Linked]) -> dict[str, float]:
    """Bytes of each part, and of "base", the rest."""
    names = [*dict.fromkeys(part for row in rows for part in row.parts), "base"]
    size = np.array([float(row.code) for row in rows])
    matrix = np.array(
        [[{**row.parts, "base": 1}.get(name, 0) for name in names] for row in rows], float
    )
    drawn = np.diag([DRAWN / _usual(name) for name in names])
    right = (size - [row.family for row in rows]) / size
    found = non_negative(
        np.vstack([matrix / size[:, None], drawn]),
        np.concatenate([right, np.full(len(names), DRAWN)]),
    )
    return dict(zip(names, map(float, found), strict=True))


def _usual(part: str) -> float:
    if part == "base":
        return 2000.0
    if part.endswith("_i8 once"):
        return 900.0
    return 300.0 if "_f32" in part else 150.0


def estimate(row: Linked, sizes: Mapping[str, float]) -> float:
    """Bytes of a network's code."""
    parts = {**row.parts, "base": 1}
    return row.family + sum(sizes.get(part, 0.0) * number for part, number in parts.items())


def written(sizes: Mapping[str, float], count: int) -> str:
    """The file of sizes."""
    once = {name.removesuffix(" once"): n for name, n in sizes.items() if name.endswith(" once")}
    each = {name: n for name, n in sizes.items() if not name.endswith(" once") and name != "base"}
    lines = [
        f"# Bytes of code on Thumb-2, {pio.find_arm_compiler().title}: `once` for a kernel that is",
        "# there, `each` for every call of it and for each learner; `base` for the rest, beside",
        f"# `Size.code`. Fitted by benchmarks/code_size.py to {count} linked firmwares.",
        f"base = {round(sizes['base'])}",
    ]
    for title, table in (("once", once), ("each", each)):
        lines += ["", f"[{title}]"]
        lines += [f'"{name}" = {round(n)}' for name, n in sorted(table.items())]
    return "\n".join([*lines, ""])


def show(rows: list[Linked], sizes: Mapping[str, float]) -> None:
    """A row for each network, then the errors of all."""
    print("| network and plan | linked code, B | estimate | error |\n|---|--:|--:|--:|")
    errors = []
    for row in rows:
        errors.append(estimate(row, sizes) / row.code - 1)
        print(f"| {row.name} | {row.code:,} | {estimate(row, sizes):,.0f} "
              f"| {100 * errors[-1]:+.1f} % |")  # fmt: skip
    print(f"\nmedian {100 * np.median(np.abs(errors)):.1f} %, from {100 * min(errors):+.1f} "
          f"to {100 * max(errors):+.1f} %\n")  # fmt: skip


def main() -> None:
    """Link, fit, write and show."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", type=Path, required=True)
    keep: Path = parser.parse_args().keep
    keep.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, int8, options in fitting_plans():
            shape, make = NETWORKS[name]
            stem = f"{name.replace(' ', '_')}_{'int8' if int8 else 'f32'}"
            model = make(Network(int8, *shape)).save(Path(folder) / f"{stem}.onnx")
            rows.append(linked(model, options, keep, shared=False))
        for model in sorted(SHARED.glob("*.onnx")):
            for update in ("last", "bias", "full"):
                loss = {"loss": "mse"} if {"ae", "autoencoder"} & set(model.stem.split("_")) else {}
                rows.append(linked(model, {"update": update} | loss, keep, shared=True))
    there = [row for row in rows if row]
    print("The shared models, by a fit without them:\n")
    shared = [row for row in there if row.shared]
    show(shared, fitted([row for row in there if not row.shared]))
    sizes = fitted(there)
    FILE.write_text(written(sizes, len(there)))
    print("The shared models, with all in the fit:\n")
    show(shared, sizes)


if __name__ == "__main__":
    main()
