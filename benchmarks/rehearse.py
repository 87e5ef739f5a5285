"""Rehearsals: how good the choice is, and how long one takes.

    .venv/bin/python benchmarks/rehearse.py [choice [STREAM ...]] [elsewhere] [time]

choice     for each stream, the accuracy on held-out samples after one pass in recorded order: of
           the frozen model, of the defaults of `compile`, of the rehearsal's choice, and of the
           best of all candidates, which only the held-out samples can tell. The rehearsal sees
           the learning part alone. The watch's persons 8, 9 and 10; HAR's drift persons; 200
           digits, then all 8, then all 9, for a network that knows 0 to 7; a bearing, record after
           record, behind a layer with drawn weights.
elsewhere  the same on three streams that had no part in choosing the rule: images (UCI Image
           Segmentation, from the package river) as seen by a camera with other gains, region
           after region; outlines of leaves (OSULeaf) and the power of appliances (ACSF1, both from
           aeon). `pip install --no-deps --target FOLDER aeon river`, and FOLDER in
           TINYODL_PACKAGES.
time       processor seconds for 12 learners, 4 passes over 200 samples, a network of the watch's
           size, compilers included.

Everything runs in the generated C, compiled for this computer. Data and models that are not part of
the project are looked for beside it, in shared/. Results are kept in FOLDER of TINYODL_REHEARSALS,
where that is set.
"""

from __future__ import annotations

import os
import pickle
import resource
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))

from learners import Samples, har, watch
from learners_elsewhere import bearing, layer
from learners_online import SHARED, digits_of, mnist

from tinyodl import __version__
from tinyodl.compiler import compilation
from tinyodl.graph import Array
from tinyodl.host_run.network import HostNetwork
from tinyodl.rehearsal.candidates import Task, candidates
from tinyodl.rehearsal.choice import choose, share_of
from tinyodl.rehearsal.material import Material, halves, thinned
from tinyodl.rehearsal.problem import Problem
from tinyodl.rehearsal.rehearse import MOST_KEPT
from tinyodl.rehearsal.trial import Course
from tinyodl.rehearsal.work import Tried, carry_out, tried_with
from tinyodl.targets.boards import load_board

BOARD = "nrf52840_dk"
FOLDER = Path(tempfile.mkdtemp(prefix="tinyodl-"))


@dataclass(frozen=True)
class Stream:
    """Samples in the order of recording, to learn from and to test; `old` ones the model knows."""

    name: str
    model: Path
    learn: Samples
    test: Samples
    old: Samples | None = None


# Streams


def known() -> Iterator[Stream]:
    """The streams of the tables that other benchmarks show."""
    for task, name in ((watch(), "watch"), (har(), "har")):
        for person, splits in task.persons.items():
            learn, test = splits[0]
            old = task.old[1] if task.old else None
            yield Stream(f"{name} {person}", task.model, learn, test, old)
    y = mnist()["y_train"]
    order = np.random.default_rng(0).permutation(10_000)
    later = order[200:]
    rows = np.concatenate([order[:200], later[y[later] == 8][:100], later[y[later] == 9][:100]])
    before = order[5000:7000]
    old = digits_of(before[y[before] < 8])
    tested = digits_of(np.arange(1000), "test")
    yield Stream("digits", of_ten_digits(), digits_of(rows), tested, old)
    learn, test = bearing()
    yield Stream("bearing", layer(64, 9), (learn.x, learn.y), (test.x, test.y))


def of_ten_digits() -> Path:
    """lenet_mnist_c8 with outputs for 8 and 9, whose weights are 0."""
    model = onnx.load(SHARED / "models" / "lenet_mnist_c8.onnx")
    for constant in model.graph.initializer:
        if constant.name in model.graph.node[-1].input[1:]:
            old = numpy_helper.to_array(constant)
            more = [(0, 2 * (size == 8)) for size in old.shape]
            constant.CopyFrom(numpy_helper.from_array(np.pad(old, more), constant.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 10
    path = FOLDER / "lenet10.onnx"
    onnx.save(model, path)
    return path


def elsewhere() -> Iterator[Stream]:
    """Streams of packages, in features that are scaled as their first samples say."""
    packages = Path(os.environ["TINYODL_PACKAGES"])
    rng = np.random.default_rng(2026)
    with zipfile.ZipFile(packages / "river" / "datasets" / "segment.csv.zip") as archive:
        lines = archive.read(archive.namelist()[0]).decode().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    names = sorted({row[-1] for row in rows})
    x = np.array([[float(v) for v in row[:-1]] for row in rows])
    y = np.array([names.index(row[-1]) for row in rows])
    order = rng.permutation(len(y))
    x, y = x[order], y[order]
    camera = rng.uniform(0.6, 1.4, x.shape[1])
    first, learn, test = np.arange(700), np.arange(700, 1100), np.arange(1100, len(y))
    learn = learn[np.argsort(y[learn], kind="stable")]
    model, scaled = trained("segments", x[first], y[first], len(names))
    aged = scaled(x * camera)
    yield Stream("images", model, (aged[learn], y[learn]), (aged[test], y[test]))
    for name, dataset, parts in (("leaves", "OSULeaf", 61), ("appliances", "ACSF1", 73)):
        folder = packages / "aeon" / "datasets" / "data" / dataset
        (x, y), (x_test, y_test) = (
            series(folder / f"{dataset}_{part}.ts", parts) for part in ("TRAIN", "TEST")
        )
        half = rng.permutation(len(y)) < len(y) // 2
        learn = np.flatnonzero(~half)
        learn = learn[np.argsort(y[learn], kind="stable")]
        model, scaled = trained(dataset, x[half], y[half], int(y.max()) + 1)
        yield Stream(name, model, (scaled(x[learn]), y[learn]), (scaled(x_test), y_test))


def series(path: Path, parts: int) -> Samples:
    """A file of the UCR archive: means of `parts` stretches of each series, and labels from 0."""
    rows = [r.split(":") for r in path.read_text().splitlines() if r and r[0] not in "#@"]
    x = np.array([[float(v) for v in row[0].split(",")] for row in rows])
    labels = np.array([row[1] for row in rows])
    cut = x[:, : x.shape[1] // parts * parts].reshape(len(x), parts, -1)
    return cut.mean(axis=2), np.unique(labels, return_inverse=True)[1].astype(np.int64)


def trained(name: str, x: Array, y: Array, classes: int) -> tuple[Path, Any]:
    """An MLP with 32 hidden units, trained on these samples; and how it wants samples."""
    import torch

    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6

    def scaled(values: Array) -> Array:
        return ((values - mean) / spread).astype(np.float32)

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 32), torch.nn.ReLU(), torch.nn.Linear(32, classes)
    )
    rule = torch.optim.Adam(net.parameters(), 0.01, weight_decay=1e-3)
    for _ in range(300):
        rule.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.tensor(scaled(x))), torch.tensor(y))
        loss.backward()
        rule.step()
    constants = [
        numpy_helper.from_array(value.detach().numpy(), name)
        for name, value in zip(("w1", "b1", "w2", "b2"), net.parameters(), strict=True)
    ]
    nodes = [
        helper.make_node("Gemm", ["input", "w1", "b1"], ["h"], "hidden", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "dense", transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, [1, size])
        for end, size in (("input", x.shape[1]), ("y", classes))
    ]
    graph = helper.make_graph(nodes, "m", ends[:1], ends[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = FOLDER / f"{name}.onnx"
    onnx.save(made, path)
    return path, scaled


# Measures


@dataclass(frozen=True)
class Row:
    """A candidate on a stream: its trial, and its accuracy on the test part, in %."""

    stream: str
    tried: Tried
    tested: float


def problem_of(stream: Stream) -> Problem:
    """The rehearsal of a stream's learning part."""
    begin, kept = halves(Material(*stream.old)) if stream.old else (None, None)
    return Problem(
        version=__version__,
        name=stream.model.name,
        model=stream.model.read_bytes(),
        board=load_board(BOARD),
        options={},
        samples=Material(*stream.learn),
        begin=begin,
        kept=thinned(kept, MOST_KEPT) if kept else None,
    )


def task_of(stream: Stream) -> Task:
    """What the candidates of a stream depend on."""
    graph = onnx.load(stream.model).graph
    outputs = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    return Task(outputs, outputs, graph.input[0].name, stream.old is not None)


def rows_of(streams: list[Stream]) -> Iterator[Row]:
    """All candidates on streams of one model and the same old samples, each compiled once."""
    problems = [problem_of(stream) for stream in streams]
    for candidate in candidates(task_of(streams[0])):
        with problems[0].on_disk() as (model, options):
            if candidate.started:
                options["start"] = problems[0].started_from(model.parent)
            made = compilation(model, problems[0].board, {**options, **candidate.options})
        print(f"  {streams[0].model.stem}: {candidate.name}", file=sys.stderr, flush=True)
        with HostNetwork.of(made.lowered) as net:
            for stream, problem in zip(streams, problems, strict=True):
                for rate in candidate.rates or (None,):
                    tried = tried_with(problem, candidate, made, net, rate)
                    yield Row(stream.name, tried, tested(net, rate, stream))


def tested(net: HostNetwork, rate: float | None, stream: Stream) -> float:
    """The accuracy on the test part after one pass in recorded order, in %."""
    net.reset()
    if rate is not None:
        net.learning_rate(rate)
    net.train_all(*stream.learn)
    net.settle()
    return 100 * float((net.evaluate_all(*stream.test).predicted == stream.test[1]).mean())


def choice(streams: Iterator[Stream]) -> None:
    """Print a row a stream, and the means."""
    print(
        "| stream | frozen | default | chosen | | in rehearsal | best of all | |\n"
        "|---|--:|--:|--:|---|--:|--:|---|"
    )
    by_model: dict[Path, list[Stream]] = {}
    for stream in streams:
        by_model.setdefault(stream.model, []).append(stream)
    means = []
    for together in by_model.values():
        rows = list(rows_of(together))
        if kept := os.environ.get("TINYODL_REHEARSALS"):
            path = Path(kept) / f"{together[0].model.stem}.pickle"
            path.write_bytes(pickle.dumps(rows))
        for stream in together:
            means.append(_print_row(stream.name, [r for r in rows if r.stream == stream.name]))
    mean = np.mean(means, axis=0)
    print(
        f"| mean | {mean[0]:.1f} | {mean[1]:.1f} | {mean[2]:.1f} | | | {mean[3]:.1f} | "
        f"chosen / best {mean[2] / mean[3]:.3f} |"
    )


def _print_row(name: str, rows: list[Row]) -> tuple[float, float, float, float]:
    by_name = {row.tried.name: row.tested for row in rows}
    made = choose([row.tried for row in rows])
    assert made is not None
    best = max(rows, key=lambda row: row.tested)
    taken = made.taken
    row = by_name["none"], by_name["last, rate 0.01"], by_name[taken.name], best.tested
    print(
        f"| {name} | {row[0]:.1f} | {row[1]:.1f} | {row[2]:.1f} | {taken.name} "
        f"| {100 * share_of(taken):.1f} | {row[3]:.1f} | {best.tried.name} |",
        flush=True,
    )
    return row


def seconds() -> None:
    """Print how long 12 learners take on 200 samples."""
    stream = next(known())
    rows = np.linspace(0, len(stream.learn[1]) - 1, 200).astype(int)
    learn = stream.learn[0][rows], stream.learn[1][rows]
    problem = replace(problem_of(replace(stream, learn=learn, old=None)), course=Course(seeds=(0,)))
    listed = candidates(replace(task_of(stream), old=False))[:12]
    used = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    begun = [resource.getrusage(who) for who in used]
    for candidate in listed:
        carry_out(problem, replace(candidate, rates=candidate.rates[2:3]))
    spent = [
        now.ru_utime + now.ru_stime - then.ru_utime - then.ru_stime
        for now, then in zip(map(resource.getrusage, used), begun, strict=True)
    ]
    print(
        f"{len(listed)} learners, 4 passes over 200 samples shuffled and 4 in recorded order: "
        f"{sum(spent):.1f} s, {spent[1]:.1f} of them the compiler's"
    )


def main() -> None:
    """Print what was asked for, or everything."""
    asked = sys.argv[1:] or ["choice", "elsewhere", "time"]
    if asked[0] == "choice":
        names = [name for name in asked[1:] if name not in ("elsewhere", "time")]
        choice(each for each in known() if not names or each.name in names)
    if "elsewhere" in asked:
        choice(elsewhere())
    if "time" in asked:
        seconds()


if __name__ == "__main__":
    main()
