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
        300 samples, two passes for the classifier alone, then two for all. The frozen blocks 0 to 6
        run once for each image, in onnxruntime

The data and models are not part of the project; they are looked for beside it, in shared/.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.shape_inference
import onnx.utils
import onnxruntime
import torch
from onnx.numpy_helper import from_array, to_array

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' PyTorch reader of ONNX files

from benchmarks import transfers
from tests.onnx_torch import TorchModel
from tinyodl.compiler import Compilation, compilation
from tinyodl.frontend import Changes, prepare
from tinyodl.graph import Array
from tinyodl.host_run.network import HostNetwork
from tinyodl.project.layer_update import ChannelUpdate
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import dump_plan, load_plan
from tinyodl.targets.boards import load_board

MODELS = Path(__file__).parent.parent.parent / "shared" / "models"
SEEDS = range(5)
torch.set_num_threads(1)  # one sample at a time: more only wait for each other
TUNING_SEED = 100
RATES = (0.03, 0.01, 0.003, 0.001, 0.0003)
HEAD, HEAD_RATE = "head.", 0.01
UNSCALED = 3000.0  # such steps are smaller by s_w^2, about 1e-4: larger rates are tried as well

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
    changes: Mapping[str, str]
    update: str
    data: Callable[[int], transfers.Split]  # by seed
    groups: tuple[int, ...] = (0,)  # of seeds: persons
    start: tuple[str, str] | None = None  # (float32, int8): values that only frozen layers make
    passes: int = 1  # over the training samples
    head_first: int = 0  # passes in which the classifier alone learns, before the others


class Frozen:
    """The layers before a value, which compute the same for an image whatever is learned later."""

    def __init__(self, path: Path, value: str, folder: Path) -> None:
        """Splits the model; `rest` is a file with the layers behind `value`, which it takes in.

        A quantised value goes over as the real numbers that its integers stand for, so that the
        rest begins with the same integers.
        """
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
        parts = onnx.utils.Extractor(model)
        grid = f"{value}_o_dq"
        made = grid if any(grid in node.output for node in model.graph.node) else value
        first = parts.extract_model([model.graph.input[0].name], [made])
        self.session = onnxruntime.InferenceSession(first.SerializeToString())
        self.rest = folder / path.name
        onnx.save(parts.extract_model([value], [model.graph.output[0].name]), self.rest)
        self._known: dict[int, transfers.Split] = {}

    def split(self, split: transfers.Split) -> transfers.Split:
        """The samples as the rest takes them."""
        if id(split) not in self._known:
            name = self.session.get_inputs()[0].name
            made = [
                np.concatenate([self.session.run(None, {name: x[None]})[0] for x in samples])
                for samples in (split.x_train, split.x_test)
            ]
            self._known[id(split)] = replace(split, x_train=made[0], x_test=made[1])
        return self._known[id(split)]


def in_real_numbers(path: Path, folder: Path) -> Path:
    """An int8 model in float32: weights are the numbers they stand for, nothing is rounded.

    What the range of int8 cuts off is clipped, as a Relu may be no more than that; not the output,
    which a head may replace. It shows what of
    a difference to the float32 model is in the numbers that learning starts with.
    """
    model = onnx.load(path)
    graph, constants = model.graph, {i.name: to_array(i) for i in model.graph.initializer}
    same: dict[str, str] = {}
    kept = []
    last = [node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"][-1]
    for node in graph.node:
        first = same.get(node.input[0], node.input[0])
        if node.op_type == "DequantizeLinear" and first in constants:
            q, scale = constants[first].astype(np.float32), constants[node.input[1]]
            scale = scale.reshape(-1, *(1,) * (q.ndim - 1)) if scale.size > 1 else scale
            graph.initializer.append(from_array(q * scale, node.output[0]))
        elif node.op_type == "DequantizeLinear" or node.output[0] == last:
            same[node.output[0]] = first
        elif node.op_type == "QuantizeLinear":
            scale, zero = constants[node.input[1]], constants[node.input[2]].astype(np.float32)
            y = node.output[0]
            for name, q in (("low", -128), ("high", 127)):
                graph.initializer.append(from_array((q - zero) * scale, f"{y}.{name}"))
            kept.append(onnx.helper.make_node("Clip", [first, f"{y}.low", f"{y}.high"], [y]))
        else:
            for index, name in enumerate(node.input):
                node.input[index] = same.get(name, name)
            kept.append(node)
    graph.output[0].name = same.get(graph.output[0].name, graph.output[0].name)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(kept)
    made = folder / f"real_{path.name}"
    onnx.save(model, made)
    return made


class Board:
    """The generated C of an int8 network."""

    def __init__(self, made: Compilation) -> None:
        self.net = HostNetwork.of(made.lowered)
        self.names = [tensor.name for tensor in self.net.parameters if HEAD in tensor.name]

    def start(self, rate: float, head: Sequence[Array] = ()) -> None:
        self.net.reset()
        self.net.learning_rate(rate)
        for name, value in zip(self.names, head, strict=bool(head)):
            self.net.write_parameter(name, value.reshape(self.net.parameter(name).shape))

    def head(self) -> list[Array]:
        """The weights and biases of the classifier."""
        return [self.net.parameter(name) for name in self.names]

    def train(self, x: np.ndarray, label: int) -> float:
        return self.net.train(x, int(label))

    def predict(self, x: np.ndarray) -> int:
        self.net.forward(x)
        return self.net.predicted()


class Float:
    """The float32 network in PyTorch, of which only what the plan names learns."""

    def __init__(self, path: Path, plan: UpdatePlan, layers: Iterable[str]) -> None:
        self.model = TorchModel(path)
        names = dict.fromkeys(node for node, _ in self.model.leaves)
        self.updates = dict(zip(names, (plan.layers.get(n, "none") for n in layers), strict=True))
        self.leaves = {k: v for k, v in self.model.leaves.items() if self.updates[k[0]] != "none"}
        self.first = {place: leaf.detach().clone() for place, leaf in self.leaves.items()}
        self.rate = 0.0

    def start(self, rate: float, head: Sequence[Array] = ()) -> None:
        self.rate = rate
        with torch.no_grad():
            for place, leaf in self.leaves.items():
                leaf.copy_(self.first[place])
            for leaf, value in zip(self._head(), head, strict=bool(head)):
                leaf.copy_(torch.tensor(value).reshape(leaf.shape))

    def head(self) -> list[Array]:
        """The weights and biases of the classifier."""
        return [leaf.detach().numpy().copy() for leaf in self._head()]

    def _head(self) -> list[torch.Tensor]:
        return [leaf for (name, _), leaf in self.leaves.items() if HEAD in name]

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


@dataclass(frozen=True)
class Learner:
    """A network under the task's plan, and one of which the classifier alone learns."""

    net: Board | Float
    head: Board | Float | None
    task: Task
    heads: dict[int, list[Array]] = field(default_factory=dict)  # by seed

    def learn(self, seed: int, rate: float) -> float:
        """Accuracy at the end; 0 when the loss was no number any more."""
        split = self.task.data(seed)
        self.net.start(rate, self.first_head(seed))
        if not train(self.net, split, self.task.passes):
            return 0.0
        return accuracy(self.net, split)

    def first_head(self, seed: int) -> list[Array]:
        """The classifier to begin with; [] for a fresh one."""
        if self.head is None:
            return []
        if seed not in self.heads:
            self.head.start(HEAD_RATE)
            train(self.head, self.task.data(seed), self.task.head_first)
            self.heads[seed] = self.head.head()
        return self.heads[seed]

    def best_rate(self, rates: Iterable[float]) -> float:
        """The rate that does best on seeds that are not reported."""
        seeds = [transfers.GROUP * group + TUNING_SEED for group in self.task.groups]
        tried = {rate: np.mean([self.learn(seed, rate) for seed in seeds]) for rate in rates}
        return max(tried, key=lambda rate: float(tried[rate]))


def train(net: Board | Float, split: transfers.Split, passes: int) -> bool:
    """Whether the loss stayed a number."""
    samples = [*zip(split.x_train, split.y_train, strict=True)] * passes
    return all(np.isfinite(net.train(x, int(y))) for x, y in samples)


def learners(task: Task, folder: Path) -> Iterator[tuple[str, Learner, tuple[float, ...]]]:
    """Each variant's name, what learns, and the rates to choose from."""
    paths, seen = (MODELS / task.float32, MODELS / task.int8), (task, task)
    if task.start:
        frozen = [Frozen(p, v, folder) for p, v in zip(paths, task.start, strict=True)]
        paths = (frozen[0].rest, frozen[1].rest)
        seen = (_behind(task, frozen[0]), _behind(task, frozen[1]))
    made = {name: _compiled(task, paths[1], rule, folder) for name, rule in VARIANTS.items()}
    first = next(iter(made.values())).manifest
    layers = [layer.name for layer in first.layers]
    last = UpdatePlan(layers={layers[-1]: "weights"})
    path = folder / "float32.onnx"
    for name, model, own in (
        ("float32, PyTorch", paths[0], seen[0]),
        ("the int8 network in float32", in_real_numbers(paths[1], folder), seen[1]),
    ):
        path.write_bytes(prepare(model, Changes(**task.changes)).data)
        head = Float(path, last, layers) if task.head_first else None
        yield name, Learner(Float(path, first.plan, layers), head, own), RATES
    alone = None
    if task.head_first:
        options: Any = {"update": "last", **task.changes}
        alone = Board(compilation(paths[1], load_board("host"), options))
    heads: dict[int, list[Array]] = {}
    for name, compiled in made.items():
        rates = RATES if VARIANTS[name]["scaling"] else (*RATES, *(r * UNSCALED for r in RATES))
        yield f"int8, {name}", Learner(Board(compiled), alone, seen[1], heads), rates


def _behind(task: Task, frozen: Frozen) -> Task:
    return replace(task, data=lambda seed: frozen.split(task.data(seed)))


def _compiled(task: Task, path: Path, rule: Mapping[str, Any], folder: Path) -> Compilation:
    """Under a scheme with this rule, or under a plan file whose rule is changed to it."""
    options: Any = {"update": task.update, **task.changes}
    if task.update.endswith(".toml"):
        plan = folder / "plan.toml"
        plan.write_text(dump_plan(load_plan(Path(task.update)).model_copy(update=dict(rule))))
        options["update"] = str(plan)
    else:
        options |= rule
    return compilation(path, load_board("host"), options)


SCHEME = Path(__file__).parent.parent / "examples" / "schemes" / "mcunet-5fps-49KB.toml"
TASKS = {
    "digits": Task(
        "lenet_mnist_c8.onnx",
        "lenet_mnist_c8_int8.onnx",
        {"head": "dense:10"},
        "full",
        cache(transfers.digits),
    ),
    "watch": Task(
        "watch_cnn_c7.onnx",
        "watch_cnn_c7_int8.onnx",
        {},
        "full",
        cache(transfers.watch),
        groups=(8, 9, 10),
    ),
    "cifar": Task(
        "mcunet_5fps_f32.onnx",
        "mcunet_5fps_int8.onnx",
        {"head": "dense:10"},
        str(SCHEME),
        cache(transfers.cifar),
        start=("b6_add", "b6_add"),
        passes=2,
        head_first=2,
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
        for variant, learner, rates in learners(task, Path(tempfile.mkdtemp())):
            rate = learner.best_rate(rates)
            before = []
            for seed in seeds[:: 1 if task.head_first else len(SEEDS)]:
                learner.net.start(rate, learner.first_head(seed))
                before.append(accuracy(learner.net, learner.task.data(seed)))
            after = np.array([learner.learn(seed, rate) for seed in seeds])
            reference = after if reference is None else reference
            apart = after - reference
            print(
                f"| {variant} | {rate:g} | {np.mean(before):.1f} | {after.mean():.1f} ± "
                f"{after.std(ddof=1):.1f} | {apart.mean():+.1f} ± "
                f"{apart.std(ddof=1) / len(apart) ** 0.5:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
