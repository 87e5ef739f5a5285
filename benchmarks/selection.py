"""What `--update auto` fills within random budgets: whether it fits, what is left, how good it is.

    .venv/bin/python benchmarks/selection.py [MODEL ...]

For each network some random budgets of RAM, between what `last` takes and what everything does.
`over` are plans whose RAM, exactly planned, is above the budget (tests/test_platforms.py compares
it with the linker); `left` are levels of more value that would still fit; `value`
is that of the filled plan as a share of the best of all choices, where the search by steps is
compared with the exhaustive one. Samples are noise with random labels: values then differ between
layers as they do elsewhere, and no network learns here. Seconds are of CPU, of the search alone.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from tinyodl.frontend import Changes, Prepared, prepare
from tinyodl.project.plan import UpdatePlan
from tinyodl.select import choose, search
from tinyodl.select.budget import Budget, Costs
from tinyodl.select.importance import Samples, importance
from tinyodl.select.levels import Ladder, ladders_of, updates_of, value_of
from tinyodl.targets.boards import load_board

ROOT = Path(__file__).parent.parent
MODELS = ROOT.parent / "shared" / "models"
NAMES = (
    "watch_cnn_c7",
    "watch_cnn_c7_int8",
    "digits_mlp_64_32_10",
    "digits_mlp_64_32_10_int8",
    "lenet_mnist_c8",
    "lenet_mnist_c8_int8",
    "fsdd_dscnn_c8",
    "mlperftiny_dscnn_kws_int8",
)
BUDGETS = 25
SEED = 0


def main() -> None:
    print("| network | budgets | over | left | value, least | search, s, most |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in sys.argv[1:] or NAMES:
        print(_row(name, MODELS / f"{name}.onnx"), flush=True)


def _row(name: str, path: Path) -> str:
    prepared = prepare(path, Changes())
    base = {n: u for n, u in choose(prepared.graph, "last").items() if u != "none"}
    found = importance(prepared, UpdatePlan(), _noise(prepared))
    ladders = ladders_of(prepared.under(UpdatePlan()), found, list(base))
    least = _costs(prepared, base, None).of({}).ram
    everything = {ladder.name: ladder.levels[-1].update for ladder in ladders}
    most = _costs(prepared, base, None).of(everything).ram
    over = left = 0
    values, seconds = [], []
    for ram in np.random.default_rng(SEED).integers(least, most, BUDGETS).tolist():
        costs = _costs(prepared, base, ram)
        begun = time.process_time()
        best = search.search(ladders, costs)[0]
        seconds.append(time.process_time() - begun)
        _, _, fits = costs.exactly(updates_of(ladders, best.choice))
        over += not fits
        left += _left(ladders, costs, best.choice)
        if best.exhaustive:
            steps = _by_steps(ladders, _costs(prepared, base, ram))
            values.append(steps / best.value if best.value else 1.0)
    least_value = f"{min(values):.3f}" if values else "-"
    return f"| {name} | {BUDGETS} | {over} | {left} | {least_value} | {max(seconds):.1f} |"


def _left(ladders: tuple[Ladder, ...], costs: Costs, choice: tuple[int, ...]) -> int:
    """Levels of more value that would still fit."""
    count = 0
    for index, ladder in enumerate(ladders):
        for at, level in enumerate(ladder.levels):
            larger = (*choice[:index], at, *choice[index + 1 :])
            if level.value > ladder.levels[choice[index]].value:
                count += costs.fits(updates_of(ladders, larger))
    return count


def _by_steps(ladders: tuple[Ladder, ...], costs: Costs) -> float:
    """The value that is filled as in a network too large to look at all choices."""
    kept, search.MOST_CHOICES = search.MOST_CHOICES, 0
    try:
        return value_of(ladders, search.search(ladders, costs)[0].choice)
    finally:
        search.MOST_CHOICES = kept


def _costs(prepared: Prepared, base: dict[str, object], ram: int | None) -> Costs:
    return Costs(prepared, UpdatePlan(), load_board("nrf52840_dk"), Budget(ram=ram), base)


def _noise(prepared: Prepared) -> Samples:
    random = np.random.default_rng(SEED)
    graph = prepared.graph
    shape = graph.shape(graph.inputs[0])[1:]
    classes = graph.tensor(graph.outputs[0]).size
    x = random.normal(size=(64, *shape)).astype(np.float32)
    return Samples(x, random.integers(0, classes, 64))


if __name__ == "__main__":
    main()
