"""What bounds a step best: candidates in PyTorch, then the firmware on whole streams.

    .venv/bin/python benchmarks/bound.py candidates [watch har digits]
    .venv/bin/python benchmarks/bound.py streams
    .venv/bin/python benchmarks/bound.py rates

candidates: samples one by one, at their usual rate (last 0.02, full 0.01) as recorded and shuffled;
shuffled with one sample of -9999 in the middle, with one feature of it -9999; and at 10, 100 and
1,000 times the rate. Printed is the accuracy after, and how many steps were changed.

    off     plain SGD
    on      the rule of tinyodl.learning.bound
    0.3     rate 0.3 / reach at each step, whatever the rate
    norm    the gradient of all layers is clipped to length 1
    agc     that of each layer to a tenth of its weights' length (Brock et al. 2021, 0.1)

rates: the host build with all layers at rate 1, 100 times the default, shuffled, with the bound and
without: accuracy before and after one pass.

streams: the host build at default rates, of which no step should be bounded, on streams of the
project and of shared/, with how many were.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import tinyodl  # noqa: E402
from benchmarks.learners import SHARED, Samples, har, watch  # noqa: E402
from tests.onnx_torch import TorchModel  # noqa: E402
from tinyodl.errors import UserError  # noqa: E402
from tinyodl.graph import Array  # noqa: E402
from tinyodl.runs import log as runlog  # noqa: E402

LIMIT, MOST, MOVED = 4.0, 16.0, 8.0
FAR = -9999.0
RULES = ("off", "on", "0.3", "norm", "agc")

Task = tuple[Path, Samples, Samples]


class Layers(TorchModel):
    """Remembers each learning layer: reach, and its parameters."""

    def logits(self, x: Array) -> torch.Tensor:
        self.layers: list[tuple[float, list[torch.Tensor]]] = []
        return super().logits(x)

    def _conv(self, attrs: Any, x: Any, w: Any, b: Any = None) -> Any:
        self._note(w[0].numel() * float(x.detach().square().mean()), w, b)
        return super()._conv(attrs, x, w, b)

    def _gemm(self, attrs: Any, x: Any, w: Any, b: Any = None) -> Any:
        self._note(float(x.detach().square().sum()), w, b)
        return super()._gemm(attrs, x, w, b)

    def _note(self, reach: float, *parameters: Any) -> None:
        learning = [p for p in parameters if p is not None and p.requires_grad]
        if learning:
            self.layers.append((1 + reach, learning))


def digits() -> Task:
    with np.load(ROOT / "tests/data/sklearn_digits_8x8.npz") as data:
        x, y = (data["x"].reshape(-1, 64) / 16).astype(np.float32), data["y"].astype(np.int64)
    model = ROOT / "tests/models/digits_mlp_64_32_10.onnx"
    return model, (x[:300], y[:300]), (x[300:700], y[300:700])


def speech() -> Task:
    """200 spoken digits of one speaker, shuffled, and the rest of theirs."""
    card = json.loads((SHARED / "models" / "fsdd_dscnn_c8.json").read_text())["preprocessing"]
    with np.load(SHARED / "data" / "fsdd_mfcc_49x10.npz") as data:
        mine = np.flatnonzero(data["speaker"] == 0)
        rows = np.random.default_rng(0).permutation(mine)
        rows = rows[data["digit"][rows] < 8]
        x = (data["x"][rows].astype(np.float64) - card["mean"]) / card["std"]
        x, y = x[:, None].astype(np.float32), data["digit"][rows].astype(np.int64)
    return SHARED / "models" / "fsdd_dscnn_c8.onnx", (x[:200], y[:200]), (x[200:], y[200:])


def mnist() -> Task:
    """300 of the digits 0 to 7, and 500 others."""
    with np.load(SHARED / "data" / "mnist_12k.npz") as data:
        known = data["y_test"] < 8
        x = (data["x_test"][known][:, None] / 255).astype(np.float32)
        y = data["y_test"][known].astype(np.int64)
    return SHARED / "models" / "lenet_mnist_c8.onnx", (x[:300], y[:300]), (x[300:800], y[300:800])


def tasks() -> dict[str, Callable[[], Task]]:
    return {
        "watch": lambda: (watch().model, *watch().persons[9][0]),
        "har": lambda: (har().model, *har().persons[14][0]),
        "digits": digits,
    }


def factors(rule: str, rate: float, net: Layers, g: torch.Tensor) -> list[float]:
    """What the gradient of each layer is multiplied with."""
    reach = sum(reach for reach, _ in net.layers)
    norms = [sum(float(p.grad.square().sum()) for p in ps) ** 0.5 for _, ps in net.layers]
    one = 1.0
    if rule == "on":
        far = rate * reach
        moved = far * float(g.norm())
        one = LIMIT / far if far > MOST or (far > LIMIT and moved > MOVED) else 1.0
    elif rule == "0.3":
        one = 0.3 / reach / rate
    elif rule == "norm":
        one = min(1.0, 1 / max(sum(n * n for n in norms) ** 0.5, 1e-12))
    elif rule == "agc":
        held = [sum(float(p.detach().square().sum()) for p in ps) ** 0.5 for _, ps in net.layers]
        return [min(1.0, 0.1 * h / max(n, 1e-12)) for h, n in zip(held, norms, strict=True)]
    return [one] * len(norms)


def learn(task: Task, update: str, rate: float, rule: str, x: Array, y: Array) -> tuple[float, int]:
    """Accuracy after, and steps that the rule changed."""
    model, _, (test_x, test_y) = task
    net = Layers(model)
    net.logits(x[:1])
    if update == "last":
        for _, parameters in net.layers[:-1]:
            for parameter in parameters:
                parameter.requires_grad_(False)
    changed = 0
    for sample, label in zip(x, y, strict=True):
        z = net.logits(sample[None])
        z.retain_grad()
        torch.nn.functional.cross_entropy(z, torch.tensor([label])).backward()
        assert z.grad is not None
        each = factors(rule, rate, net, z.grad)
        changed += min(each) < 1.0
        with torch.no_grad():
            for factor, (_, parameters) in zip(each, net.layers, strict=True):
                for parameter in parameters:
                    parameter -= rate * factor * parameter.grad
                    parameter.grad = None
    with torch.no_grad():
        said = [int(net.logits(sample[None]).argmax()) for sample in test_x]
    return 100 * float(np.mean(said == test_y)), changed


def cases(x: Array, y: Array) -> Iterator[tuple[str, float, Array, Array]]:
    """(name, times the rate, samples, labels)"""
    order = np.random.default_rng(0).permutation(len(y))
    mixed_x, mixed_y = x[order], y[order]
    yield "recorded", 1, x, y
    yield "shuffled", 1, mixed_x, mixed_y
    for name, features in (("-9999", slice(None)), ("one feature", slice(30, 31))):
        bad = mixed_x.copy()
        bad[len(y) // 2].reshape(-1)[features] = FAR
        yield name, 1, bad, mixed_y
    for times in (10, 100, 1000):
        yield f"rate x {times}", times, mixed_x, mixed_y


def candidates(names: list[str]) -> None:
    print("| stream | learns | rule | " + " | ".join(c[0] for c in cases(*[np.zeros((9, 99))] * 2)))
    print("|---|---|---|" + "--:|" * 7)
    for name in names:
        task = tasks()[name]()
        for update, rate in (("last", 0.02), ("full", 0.01)):
            for rule in RULES:
                cells = []
                for _, times, x, y in cases(*task[1]):
                    after, changed = learn(task, update, rate * times, rule, x, y)
                    cells.append(f"{after:.1f} ({changed})")
                print(f"| {name} | {update} | {rule} | {' | '.join(cells)} |", flush=True)


def streams() -> None:
    print("| stream | options | samples | bounded |")
    print("|---|---|--:|--:|")
    rates: tuple[dict[str, Any], ...] = ({"learning_rate": 0.02}, {"learner": "online"})
    rates += ({"learner": "transfer"}, {"update": "full"}, {"optimizer": "adam"})
    for name, task in {"watch": watch(), "har": har()}.items():
        for options in rates:
            if name == "har" and "learning_rate" in options:
                options = {"update": "last"}
            given = [splits[0][0] for splits in task.persons.values()]
            print_bounded(name, task.model, options, given)
    model, learned, _ = digits()
    for options in rates:
        print_bounded("digits", model, options, [learned])
    for name, (model, learned, _) in {"spoken digits": speech(), "LeNet, MNIST": mnist()}.items():
        for update in ("last", "full"):
            print_bounded(name, model, {"update": update}, [learned])
    with np.load(SHARED / "data" / "cwru_load0_12k_win256.npz") as data:
        x = data["logspec64"].astype(np.float32)
        normal = x[data["is_fault"] == 0]
    told = np.zeros(len(x), np.int64)  # every window is called normal, the faults as well
    bearing = ((x - normal.mean(0)) / normal.std(0), told)
    healthy = bearing[0][: len(normal)], told[: len(normal)]
    autoencoder = SHARED / "models" / "cwru_ae_64_32_8.onnx"
    for update in ("last", "full"):
        options = {"loss": "reconstruction", "update": update}
        print_bounded("bearing, healthy", autoencoder, options, [healthy])
        print_bounded("bearing, with faults", autoencoder, options, [bearing])


def rates() -> None:
    print("| stream | before | with the bound | bounded | without |")
    print("|---|--:|--:|--:|--:|")
    given: dict[str, Task] = {f"HAR {p}": (har().model, *har().persons[p][0]) for p in (14, 19)}
    given |= {"watch 9": (watch().model, *watch().persons[9][0]), "LeNet, MNIST": mnist()}
    for name, (model, learned, test) in given.items():
        on, off = (at_rate_one(model, learned, test, bound) for bound in ("on", "off"))
        before, after = (f"{100 * (share or 0):.1f}" for share in (on[0], on[1]))
        plain = "not a number" if off[1] is None else f"{100 * off[1]:.1f}"
        print(f"| {name} | {before} | {after} | {on[2]} of {on[3]} | {plain} |", flush=True)


def at_rate_one(
    model: Path, learned: Samples, test: Samples, bound: str
) -> tuple[float | None, float | None, int, int]:
    """Accuracy before and after, None where the loss stopped being a number; bounded, of steps."""
    with tempfile.TemporaryDirectory() as folder:
        project, log = Path(folder) / "p", Path(folder) / "run"
        tinyodl.compile(model, "host", project, update="full", bound=bound)  # type: ignore[arg-type]
        tinyodl.flash(project, port="host")
        with tinyodl.Session(project, "host") as session, contextlib.suppress(UserError):
            session.train(*learned, shuffle=0, learning_rate=1.0, eval=test, run=log)
        done = runlog.read(log).summary
        return done.accuracy_before, done.accuracy_after, done.bounded, done.samples


def print_bounded(name: str, model: Path, options: dict[str, Any], given: list[Samples]) -> None:
    """A row: all persons one after the other, each from the compiled weights."""
    total = bounded = 0
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "p"
        tinyodl.compile(model, "host", project, **options)
        tinyodl.flash(project, port="host")
        for index, (x, y) in enumerate(given):
            with tinyodl.Session(project, port="host") as session:
                session.client.reset()
                summary = session.train(x, y, run=Path(folder) / f"run{index}")
                total, bounded = total + summary.samples, bounded + summary.bounded
    said = ", ".join(f"{key} {value}" for key, value in options.items())
    print(f"| {name} | {said} | {total:,} | {bounded} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["streams"]:
        streams()
    elif sys.argv[1:2] == ["rates"]:
        rates()
    else:
        candidates(sys.argv[2:] or list(tasks()))
