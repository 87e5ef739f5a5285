"""What int8 learning costs: quantisation-aware scaling and master copies, on and off.

    .venv/bin/python benchmarks/int8_learning.py [digits] [watch] [cifar]

Three transfers. Each is learned by the float32 network in PyTorch and by the int8 network in the
generated C (compiled for this computer; the boards compute the same bits), under the same plan,
from the same fresh head and on the same samples, batch-1 SGD without momentum. Every variant has
the learning rate of a fixed list that was best on a seed of its own, which is not among those
reported. The last column is the difference to float32 on the same seeds, with its standard error.

digits  lenet_mnist_c8, which knows digits 0 to 7, to all ten; everything learns, 500 samples
watch   watch_cnn_c7 to persons 8, 9 and 10; everything learns, one pass over the first halves of
        their recordings, shuffled; tested on the second halves
cifar   mcunet_5fps at 128x128 to the ten classes of CIFAR-10 under the "49 KB" sparse scheme;
        300 samples, three passes

The data and models are not part of the project; they are looked for beside it, in shared/.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' PyTorch reader of ONNX files

from benchmarks import transfers
from tests.hostnet import build
from tests.onnx_torch import TorchModel
from tinyodl.boards import load_board
from tinyodl.compiler import Compilation, compilation
from tinyodl.data import encoded
from tinyodl.frontend import Changes, prepare
from tinyodl.graph import Array
from tinyodl.update_plan import ChannelUpdate, UpdatePlan

MODELS = Path(__file__).parent.parent.parent / "shared" / "models"
SEEDS = range(5)
torch.set_num_threads(1)  # one sample at a time: more only wait for each other
TUNING_SEEDS = (100,)
RATES = (0.03, 0.01, 0.003, 0.001, 0.0003)
UNSCALED = 3000.0  # such steps are smaller by s_w^2, about 1e-4: the rates are larger

VARIANTS: dict[str, dict[str, Any]] = {
    "scaling, int16 master": {"scaling": True, "master": "int16"},
    "scaling, float32 master": {"scaling": True, "master": "float32"},
    "scaling, no master": {"scaling": True, "master": "none"},
    "no scaling, int16 master": {"scaling": False, "master": "int16"},
    "no scaling, no master": {"scaling": False, "master": "none"},
}


@dataclass(frozen=True)
class Task:
    """A transfer: the two forms of the network, how they are changed, what learns, and the data."""

    float32: str
    int8: str
    changes: tuple[Mapping[str, str], Mapping[str, str]]  # for float32 and int8
    update: str
    data: Callable[[int], transfers.Split]  # by seed
    groups: tuple[int, ...] = (0,)  # of seeds: persons
    passes: int = 1  # over the training samples


class Board:
    """The generated C of an int8 network."""

    def __init__(self, made: Compilation) -> None:
        self.library = build(made.network, Path(tempfile.mkdtemp()))
        self.library.net_set_learning_rate.argtypes = [ctypes.c_float]
        self.library.net_train.restype = ctypes.c_float
        self.model = made.manifest.model

    def start(self, rate: float) -> None:
        self.library.net_reset()
        self.library.net_set_learning_rate(rate)

    def train(self, x: np.ndarray, label: int) -> float:
        self._upload(x)
        return float(self.library.net_train(label))

    def predict(self, x: np.ndarray) -> int:
        self._upload(x)
        self.library.net_forward()
        return int(self.library.net_predicted())

    def _upload(self, x: np.ndarray) -> None:
        raw = encoded(x, self.model)
        self.library.net_receive(0, 0, raw, len(raw))


class Float:
    """The float32 network in PyTorch, of which only what the plan names learns."""

    def __init__(self, path: Path, plan: UpdatePlan, layers: Iterable[str]) -> None:
        self.model = TorchModel(path)
        names = dict.fromkeys(node for node, _ in self.model.leaves)
        self.updates = dict(zip(names, (plan.layers.get(n, "none") for n in layers), strict=True))
        self.leaves = {k: v for k, v in self.model.leaves.items() if self.updates[k[0]] != "none"}
        self.first = {place: leaf.detach().clone() for place, leaf in self.leaves.items()}
        self.rate = 0.0

    def start(self, rate: float) -> None:
        self.rate = rate
        with torch.no_grad():
            for place, leaf in self.leaves.items():
                leaf.copy_(self.first[place])

    def train(self, x: np.ndarray, label: int) -> float:
        logits = self.model.logits(x[None]).reshape(1, -1)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
        gradients = torch.autograd.grad(loss, list(self.leaves.values()))
        with torch.no_grad():
            for (name, slot), gradient in zip(self.leaves, gradients, strict=True):
                self._step(self.updates[name], slot, self.leaves[name, slot], gradient)
        return loss.item()

    def _step(self, update: Any, slot: int, leaf: torch.Tensor, gradient: torch.Tensor) -> None:
        if slot == 2 or update == "weights":
            leaf -= self.rate * gradient
        elif isinstance(update, ChannelUpdate):
            axis = 0 if update.side == "outputs" or leaf.shape[1] == 1 else 1
            chosen = torch.tensor(update.chosen)
            leaf.index_add_(axis, chosen, gradient.index_select(axis, chosen), alpha=-self.rate)

    def predict(self, x: np.ndarray) -> int:
        with torch.no_grad():
            return int(self.model.logits(x[None]).argmax())


def accuracy(net: Board | Float, split: transfers.Split) -> float:
    right = [net.predict(x) == y for x, y in zip(split.x_test, split.y_test, strict=True)]
    return 100 * float(np.mean(right))


def learn(net: Board | Float, split: transfers.Split, rate: float, passes: int) -> float:
    """Accuracy after passes over the training samples; 0 when the loss was no number any more."""
    net.start(rate)
    for x, y in [*zip(split.x_train, split.y_train, strict=True)] * passes:
        if not np.isfinite(net.train(x, int(y))):
            return 0.0
    return accuracy(net, split)


def best_rate(net: Board | Float, task: Task, factor: float) -> float:
    seeds = [transfers.GROUP * group + seed for group in task.groups for seed in TUNING_SEEDS]
    tried = {
        rate * factor: [learn(net, task.data(s), rate * factor, task.passes) for s in seeds]
        for rate in RATES
    }
    return max(tried, key=lambda rate: float(np.mean(tried[rate])))


def networks(task: Task) -> Iterator[tuple[str, Board | Float, float]]:
    """Each variant's name, network, and what its learning rates are multiplied with."""
    board = load_board("host")
    made = {
        name: compilation(
            MODELS / task.int8, board, {"update": task.update, **task.changes[1], **rule}
        )
        for name, rule in VARIANTS.items()
        if task.update in ("full", "last")
    } or {name: _with_rule(task, rule) for name, rule in VARIANTS.items()}
    first = next(iter(made.values()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(prepare(MODELS / task.float32, Changes(**task.changes[0])).data)
        plan, layers = first.manifest.plan, [layer.name for layer in first.manifest.layers]
        yield "float32, PyTorch", Float(path, plan, layers), 1.0
    for name, compiled in made.items():
        yield f"int8, {name}", Board(compiled), 1.0 if VARIANTS[name]["scaling"] else UNSCALED


def _with_rule(task: Task, rule: Mapping[str, Any]) -> Compilation:
    """With a plan file's own training rule changed."""
    text = Path(task.update).read_text()
    for name, value in rule.items():
        old = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
        text = text.replace(old, f'{name} = "{value}"' if name == "master" else f"{name} = {value}")
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.toml"
        plan.write_text(text.replace("= True", "= true").replace("= False", "= false"))
        options: Any = {"update": str(plan), **task.changes[1]}
        return compilation(MODELS / task.int8, load_board("host"), options)


SCHEME = Path(__file__).parent.parent / "examples" / "schemes" / "mcunet-5fps-49KB.toml"
TASKS = {
    "digits": Task(
        "lenet_mnist_c8.onnx",
        "lenet_mnist_c8_int8.onnx",
        ({"head": "dense:10"}, {"head": "dense:10"}),
        "full",
        cache(transfers.digits),
    ),
    "watch": Task(
        "watch_cnn_c7.onnx",
        "watch_cnn_c7_int8.onnx",
        ({}, {}),
        "full",
        cache(transfers.watch),
        groups=(8, 9, 10),
    ),
    "cifar": Task(
        "mcunet_5fps_f32.onnx",
        "mcunet_5fps_int8.onnx",
        ({"head": "dense:10"}, {"head": "dense:10"}),
        str(SCHEME),
        cache(transfers.cifar),
        passes=3,
    ),
}


def main() -> None:
    """Print a table for each task."""
    for name in sys.argv[1:] or TASKS:
        task = TASKS[name]
        seeds = [transfers.GROUP * group + seed for group in task.groups for seed in SEEDS]
        reference: Array | None = None
        print(f"\n{name}\n\n| network | rate | before | after, mean ± sd | to float32 |")
        print("|---|--:|--:|--:|--:|", flush=True)
        for variant, net, factor in networks(task):
            rate = best_rate(net, task, factor)
            net.start(rate)
            before = np.mean([accuracy(net, task.data(seed)) for seed in seeds[:: len(SEEDS)]])
            after = np.array([learn(net, task.data(seed), rate, task.passes) for seed in seeds])
            reference = after if reference is None else reference
            apart = after - reference
            print(
                f"| {variant} | {rate:g} | {before:.1f} | {after.mean():.1f} ± "
                f"{after.std(ddof=1):.1f} | {apart.mean():+.1f} ± "
                f"{apart.std(ddof=1) / len(apart) ** 0.5:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
