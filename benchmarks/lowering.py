"""What one answer of the planner costs, exact or as a bound, for one candidate plan.

    .venv/bin/python benchmarks/lowering.py

Milliseconds of CPU, the best of five. The network's graph is built from the ONNX file once for all
plans that fold alike, and so stands in a column of its own. `bound` is `lower_bound`, `answer` is
`lower`; the last columns are what they say of the arena.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinyodl.frontend import Changes, prepare
from tinyodl.planner.lowering import lower, lower_bound
from tinyodl.project.plan import UpdatePlan
from tinyodl.select import choose
from tinyodl.targets.boards import load_board

ROOT = Path(__file__).parent.parent
MODELS = ROOT.parent / "shared" / "models"
CASES = {
    "watch_cnn": ROOT / "examples" / "watch" / "watch_cnn_c7.onnx",
    "DS-CNN int8": MODELS / "mlperftiny_dscnn_kws_int8.onnx",
    "MCUNet int8": MODELS / "mcunet_5fps_int8.onnx",
}


def main() -> None:
    board = load_board("nrf52840_dk")
    print("| network | update | graph, ms | bound, ms | answer, ms | bound, B | arena, B |")
    print("|---|---|---|---|---|---|---|")
    for title, path in CASES.items():
        if not path.exists():
            print(f"| {title} | {path.name} is not here | | | | | |")
            continue
        prepared = prepare(path, Changes())
        for scheme in ("last", "bias", "full"):
            plan = UpdatePlan(layers=choose(prepared.graph, scheme))
            graph = _milliseconds(lambda p=plan, of=prepared: replace(of).under(p))
            prepared.under(plan)
            bound = _milliseconds(lambda p=plan, of=prepared: lower_bound(of, p, board))
            answer = _milliseconds(lambda p=plan, of=prepared: lower(of, p, board))
            least = lower_bound(prepared, plan, board).ram["arena"]
            arena = lower(prepared, plan, board).arena.nbytes
            figures = f"{graph:.0f} | {bound:.0f} | {answer:.0f} | {least:,} | {arena:,}"
            print(f"| {title} | {scheme} | {figures} |", flush=True)


def _milliseconds(run: Callable[[], Any]) -> float:
    found = []
    for _ in range(5):
        begun = time.process_time()
        run()
        found.append(1000 * (time.process_time() - begun))
    return min(found)


if __name__ == "__main__":
    main()
