"""Which layers and channels learn, at equal budgets: a new person, a new speaker, new characters.

    .venv/bin/python benchmarks/selection_tasks.py [watch] [speaker] [characters]

A task is a few samples of each class to learn from, and many to test. Each plan learns from them by
30 steps of gradient descent, whose gradient is the mean over all of them, in the generated C. Its
rate is the best of two to four on two or three tasks of other persons, of the other speaker or of
Tagalog.

A budget is a share of what the full update takes: of its bytes (learned weights and biases, saved
inputs of the layers whose weights learn, a bit for each Relu to go back through, a byte for each
maximum) and of its multiply-accumulates backward. The last layer learns under every plan but `none`
and `bias`. Further layers are taken in the order of their Fisher potential, each with as many
channels as fit, of 1, 1/2, 1/4 and 1/8 of them: those of the largest potential, or the same number
drawn at random or of the largest weights.

    potential of a channel = sum over samples (sum over pixels of output * gradient)^2 / 2 N

which for a layer before a Relu is (W . dL/dW + b dL/db)^2. All plans run in one network, in which
everything learns: after each step the weights that a plan freezes are written back. The bits are
those of a project with that plan, except where a step is bounded: the bound counts all layers.

watch       24 tasks: persons 8, 9, 10, 5 windows of each exercise; 35 % of bytes and MACs.
speaker     12 tasks: the two speakers whom the network has not heard, 5 of each digit; 30 / 35 %
            and 60 / 65 %.
characters  8 tasks: 5 characters of Sanskrit, 5 samples of each, on a head of prototypes; 30 %.
Errors are standard errors over tasks, of differences over pairs. Data and models are not part of
the project; they are looked for beside it, in shared/.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from tinyodl.frontend import Changes, prepare
from tinyodl.frontend.head import Head
from tinyodl.graph import Array
from tinyodl.host_run.network import HostNetwork
from tinyodl.ops import OPERATORS, biases_of, layers_of, weights_of
from tinyodl.planner.lowering import lower
from tinyodl.project.plan import UpdatePlan
from tinyodl.targets.boards import load_board

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
STEPS = 30
ALWAYS = ("none", "last", "bias", "full")  # plans that no budget changes
SHARES = (1.0, 0.5, 0.25, 0.125)


@dataclass(frozen=True)
class Task:
    """Samples to learn from and to test, of one person, speaker or alphabet."""

    of: object
    x: Array
    y: Array
    x_test: Array
    y_test: Array


@dataclass(frozen=True)
class Layer:
    """A layer that can learn: its tensors' names, and what its backward pass takes."""

    weight: str
    bias: str
    channels: int
    weights: int
    inputs: int
    macs: int
    behind: int  # bytes of the masks behind it, up to the next layer


Plan = Mapping[int, Array]  # by layer: which of its channels learn; a layer not named is frozen


@dataclass(frozen=True)
class Budget:
    bytes: float
    macs: float


class Network:
    """One network in which everything learns, and plans of it."""

    def __init__(self, model: Path, samples: int, ways: int = 0) -> None:
        head = Head((ways,), zero=True) if ways else None
        prepared = prepare(model, Changes(head=head))
        layers = {node.name: "weights" for node in layers_of(prepared.graph)}
        fields = {"layers": layers, "batch": samples, "outliers": "keep"}
        if ways:
            fields |= {"labels": (), "prototypes": {"shots": samples // ways}}
        plan = UpdatePlan.model_validate(fields)
        made = lower(prepared, plan, load_board("nrf52840_dk"))
        self.net, graph = HostNetwork.of(made), made.graph
        self.few = bool(ways)
        self.found: dict[str, dict[tuple[int, float], float]] = {}  # what no budget changes
        self.layers: list[Layer] = []
        order = [node.name for node in graph.nodes]
        found = layers_of(graph)
        for node, after in zip(found, [*found[1:], None], strict=True):
            [w], [b] = weights_of(node, graph), biases_of(node, graph)
            stop = order.index(after.name) if after else len(order)
            masks = 0
            for each in graph.nodes[order.index(node.name) + 1 : stop]:
                size = graph.tensor(each.outputs[0]).size
                masks += {"Relu": -(-size // 8), "MaxPool": size}.get(each.op, 0)
            channels, inputs = graph.shape(w)[0], graph.tensor(node.inputs[0]).size
            macs = OPERATORS[node.op].macs(node, graph)
            self.layers.append(Layer(w, b, channels, graph.tensor(w).size, inputs, macs, masks))

    def cost(self, plan: Plan, biases: bool = False) -> Budget:
        """Bytes and backward MACs of a plan; `biases`: of the biases of all layers."""
        first = 0 if biases else min(plan, default=len(self.layers))
        size = macs = 0.0
        for at, layer in enumerate(self.layers):
            if at in plan:
                share = float(plan[at].mean())
                size += 4 * (share * (layer.weights + layer.channels) + layer.inputs)
                macs += share * layer.macs
            if biases:
                size += 4 * layer.channels
            size += layer.behind if at >= first else 0
            macs += layer.macs if at > first else 0
        return Budget(size, macs)

    def whole(self, *at: int) -> Plan:
        return {i: np.ones(self.layers[i].channels, bool) for i in at}

    def begin(self, task: Task) -> None:
        """The state that learning begins with: as in the file, or prototypes."""
        self.net.reset()
        if self.few:
            self.net.train_all(task.x, task.y)

    def potentials(self, task: Task) -> list[Array]:
        """The Fisher potential of each channel of each layer, from one pass."""
        self.begin(task)
        begun = self.net.save()
        sums = [np.zeros(layer.channels) for layer in self.layers]
        values = [self._values(layer) for layer in self.layers]
        self.net.learning_rate(1.0)
        self.net.setting("shots", 0) if self.few else None
        for x, label in zip(task.x, task.y, strict=True):
            self.net.train(x, int(label))
            self.net.flush()
            for total, layer, (w, b) in zip(sums, self.layers, values, strict=True):
                now_w, now_b = self._values(layer)
                total += ((w * (w - now_w)).sum(1) + b * (b - now_b)) ** 2 / (2 * len(task.x))
            self.net.restore(begun)
            self.net.learning_rate(1.0)
            self.net.setting("shots", 0) if self.few else None
        return sums

    def _values(self, layer: Layer) -> tuple[Array, Array]:
        w, b = (self.net.parameter(name).astype(np.float64) for name in (layer.weight, layer.bias))
        return w.reshape(layer.channels, -1), b

    def learned(self, task: Task, plan: Plan | None, rate: float) -> float:
        """Accuracy in percent after the steps; a plan of None lets all biases learn."""
        self.begin(task)
        self.net.learning_rate(rate)
        names = [name for layer in self.layers for name in (layer.weight, layer.bias)]
        begun = {name: self.net.parameter(name) for name in names}
        for _ in range(STEPS if plan is None or plan else 0):
            self.net.train_all(task.x, task.y)
            for at, layer in enumerate(self.layers):
                learns = np.zeros(layer.channels, bool) if plan is None else plan.get(at)
                self._write_back(layer.weight, begun, learns)
                if plan is not None:
                    self._write_back(layer.bias, begun, learns)
        found = self.net.evaluate_all(task.x_test, task.y_test).predicted
        return float(100 * (found == task.y_test).mean())

    def _write_back(self, name: str, begun: Mapping[str, Array], learns: Array | None) -> None:
        if learns is not None and learns.all():
            return
        values = begun[name].copy()
        if learns is not None and learns.any():
            values[learns] = self.net.parameter(name)[learns]
        self.net.write_parameter(name, values)


# Plans


def filled(
    net: Network, order: Sequence[int], within: Budget, rank: Callable[[int], Array]
) -> Plan:
    """The last layer, and the layers in this order, each with as many channels as still fit.

    `rank` has the channels of a layer, the best first.
    """
    plan = dict(net.whole(len(net.layers) - 1))
    for at in order:
        for share in SHARES:
            learns = np.zeros(net.layers[at].channels, bool)
            learns[rank(at)[: round(share * len(learns))]] = True
            if at in plan or not learns.any():
                continue
            cost = net.cost({**plan, at: learns})
            if cost.bytes <= within.bytes and cost.macs <= within.macs:
                plan[at] = learns
    return plan


def plans(net: Network, task: Task, within: Budget, seed: int) -> dict[str, Plan | None]:
    """The plans by name. This is the one function to change where another choice is measured."""
    found = net.potentials(task)
    body = range(len(net.layers) - 1)
    order = sorted(body, key=lambda at: -found[at].sum())
    rng = np.random.default_rng(seed)
    begun = {at: net._values(net.layers[at])[0] for at in body}
    fisher = filled(net, order, within, lambda at: np.argsort(-found[at], kind="stable"))

    def same_layers(rank: Callable[[int], Array]) -> Plan:
        """As many channels of the same layers."""
        made = dict(fisher)
        for at in set(fisher) & set(body):
            made[at] = np.zeros_like(fisher[at])
            made[at][rank(at)[: int(fisher[at].sum())]] = True
        return made

    magnitude = same_layers(lambda at: np.argsort(-np.abs(begun[at]).sum(1), kind="stable"))
    return {
        "none": {},
        "last": net.whole(len(net.layers) - 1),
        "bias": None,
        "full": net.whole(*range(len(net.layers))),
        "last layers that fit": filled(net, body[::-1], within, lambda at: np.arange(4096)),
        "Fisher": fisher,
        "same layers, random channels": same_layers(
            lambda at: rng.permutation(net.layers[at].channels)
        ),
        "same layers, largest weights": magnitude,
    }


# Tasks


def watch() -> Iterator[Task]:
    for person in (8, 9, 10):
        halves = {}
        for part in ("learn", "test"):
            with np.load(ROOT / "examples" / "watch" / f"person{person}_{part}.npz") as data:
                halves[part] = data["x"].astype(np.float32), data["y"].astype(np.int64)
        for seed in range(8):
            rows = _drawn(halves["learn"][1], 5, seed)
            (x, y), test = halves["learn"], halves["test"]
            yield Task(person, x[rows], y[rows], *test)


def speaker() -> Iterator[Task]:
    """All that is not learned is tested."""
    card = json.loads((SHARED / "models" / "fsdd_dscnn_c8.json").read_text())["preprocessing"]
    with np.load(SHARED / "data" / "fsdd_mfcc_49x10.npz") as data:
        names = [str(name) for name in data["speakers"]]
        known = data["digit"] < 8
        x = (data["x"][known].astype(np.float32) - card["mean"]) / card["std"]
        x, y = x[:, None].astype(np.float32), data["digit"][known].astype(np.int64)
        of = data["speaker"][known]
    for name in ("theo", "yweweler"):
        mine = of == names.index(name)
        for seed in range(6):
            rows = _drawn(y[mine], 5, seed)
            rest = np.setdiff1d(np.arange(mine.sum()), rows)
            yield Task(name, x[mine][rows], y[mine][rows], x[mine][rest], y[mine][rest])


def characters() -> Iterator[Task]:
    from few_shots import episodes

    for alphabet, count in (("Sanskrit", 8), ("Tagalog", 2)):
        for episode in episodes(alphabet, 5, count, seed=2):
            yield Task(alphabet, episode.x, episode.y, episode.x_test, episode.y_test)


def _drawn(y: Array, each: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    rows = [rng.choice(np.flatnonzero(y == c), each, replace=False) for c in np.unique(y)]
    return rng.permutation(np.concatenate(rows))


# Tables


def spread(values: Array) -> str:
    return f"{values.mean():.1f} ± {values.std(ddof=1) / len(values) ** 0.5:.1f}"


def table(
    net: Network,
    tasks: Sequence[Task],
    bytes_: float,
    macs: float,
    tested: int,
    rates: Sequence[float],
    tuned_on: int = 2,
) -> None:
    """A row for each plan; the last `len(tasks) - tested` tasks only choose rates."""
    full = net.cost(net.whole(*range(len(net.layers))))
    within = Budget(bytes_ * full.bytes, macs * full.macs)
    made = [plans(net, task, within, seed) for seed, task in enumerate(tasks)]
    results: dict[str, Array] = {}
    print(f"\n{tested} tasks, {bytes_:.0%} of the bytes and {macs:.0%} of the MACs of full\n")
    rows = []
    for name in made[0]:
        grid = net.found.setdefault(name, {}) if name in ALWAYS else {}
        best = {}
        for group in dict.fromkeys(task.of for task in tasks[:tested]):
            others = [i for i, task in enumerate(tasks) if task.of != group]
            others = others[:: len(others) // tuned_on][:tuned_on]
            for i, rate in product(others, rates):
                if (i, rate) not in grid:
                    grid[i, rate] = net.learned(tasks[i], made[i][name], rate)
            best[group] = max(rates, key=lambda r: sum(grid[i, r] for i in others))
        for i, task in enumerate(tasks[:tested]):
            if (i, best[task.of]) not in grid:
                grid[i, best[task.of]] = net.learned(task, made[i][name], best[task.of])
        results[name] = np.array([grid[i, best[task.of]] for i, task in enumerate(tasks[:tested])])
        costs = [net.cost(each[name] or {}, biases=each[name] is None) for each in made[:tested]]
        size = np.mean([100 * cost.bytes / full.bytes for cost in costs])
        work = np.mean([100 * cost.macs / full.macs for cost in costs])
        rows.append((name, f"{size:.0f} % | {work:.0f} %", sorted(set(best.values()))))
        print(f"{name}: {spread(results[name])}", file=sys.stderr, flush=True)
    print("| plan | bytes | MACs back | accuracy | - last | - random channels | rates |")
    print("|---|--:|--:|--:|--:|--:|---|")
    for name, taken, best_rates in rows:
        less = [
            "" if name == other else spread(results[name] - results[other])
            for other in ("last", "same layers, random channels")
        ]
        told = "" if name == "none" else ", ".join(f"{rate:g}" for rate in best_rates)
        print(f"| {name} | {taken} | {spread(results[name])} | {' | '.join(less)} | {told} |")
    chosen = [tuple(sorted(set(m["Fisher"] or {}) - {len(net.layers) - 1})) for m in made[:tested]]
    names = {at: layer.weight for at, layer in enumerate(net.layers)}
    for layers in sorted(set(chosen), key=chosen.count, reverse=True)[:4]:
        print(f"\nFisher took {[names[at] for at in layers]} in {chosen.count(layers)} tasks")


def main(chosen: Sequence[str]) -> None:
    models = SHARED / "models"
    for name in chosen or ("watch", "characters", "speaker"):
        print(f"\n## {name}")
        if name == "watch":
            net = Network(ROOT / "examples" / "watch" / "watch_cnn_c7.onnx", 35)
            table(net, list(watch()), 0.35, 0.35, 24, (0.03, 0.1, 0.3, 1.0), 3)
        elif name == "speaker":
            net = Network(models / "fsdd_dscnn_c8.onnx", 40)
            table(net, list(speaker()), 0.30, 0.35, 12, (0.03, 0.1, 0.3))
            table(net, list(speaker()), 0.60, 0.65, 12, (0.03, 0.1, 0.3))
        else:
            net = Network(models / "omniglot_embed288.onnx", 25, ways=5)
            table(net, list(characters()), 0.30, 0.30, 8, (0.01, 0.03))


if __name__ == "__main__":
    main(sys.argv[1:])
