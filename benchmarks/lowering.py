"""What one answer of the planner costs: `tinyodl.lowering.lower` for one candidate plan.

    .venv/bin/python benchmarks/lowering.py

Milliseconds of CPU, the best of five. Building the network's graph from the ONNX file is a part of
each answer today, and stands in a column of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyodl.boards import load_board
from tinyodl.frontend import Changes, prepare
from tinyodl.lowering import lower
from tinyodl.project.plan import UpdatePlan
from tinyodl.select import choose

ROOT = Path(__file__).parent.parent
MODELS = ROOT.parent / "shared" / "models"
CASES = {
    "watch_cnn": ROOT / "examples" / "watch" / "watch_cnn_c7.onnx",
    "DS-CNN int8": MODELS / "mlperftiny_dscnn_kws_int8.onnx",
    "MCUNet int8": MODELS / "mcunet_5fps_int8.onnx",
}


def main() -> None:
    board = load_board("nrf52840_dk")
    print("| network | update | graph, ms | answer, ms | arena, B |\n|---|---|---|---|---|")
    for title, path in CASES.items():
        if not path.exists():
            print(f"| {title} | {path.name} is not here | | | |")
            continue
        prepared = prepare(path, Changes())
        for scheme in ("last", "bias", "full"):
            plan = UpdatePlan(layers=choose(prepared.graph, scheme))
            graph = _milliseconds(lambda p=plan, of=prepared: of.under(p))
            answer = _milliseconds(lambda p=plan, of=prepared: lower(of, p, board))
            arena = lower(prepared, plan, board).arena.nbytes
            print(f"| {title} | {scheme} | {graph:.0f} | {answer:.0f} | {arena:,} |", flush=True)


def _milliseconds(run: Callable[[], Any]) -> float:
    found = []
    for _ in range(5):
        begun = time.process_time()
        run()
        found.append(1000 * (time.process_time() - begun))
    return min(found)


if __name__ == "__main__":
    main()
