"""Learners on streams as they really come, on the host build: one pass, samples in recorded order.

    .venv/bin/python benchmarks/learners.py [watch] [har]

The host build computes the same bits as the boards (tests/firmware), in seconds. RAM is the whole
firmware's on an nRF52840, as predicted.

watch: persons 8, 9, 10; the first halves of their recordings are streamed, the second halves
tested. "old" is the accuracy on the second halves of persons 1 to 7, whom the network was trained
on, after learning person 8; started learners have seen their first halves. The recordings of
persons 1 to 7 are not part of the project and are looked for beside it, in shared/.

har: drift persons of UCI HAR, whom har_mlp_265_128_6 has not seen. This copy of the data has lost
the order of time within a person (and its windows overlap by half), so five random halves, 60 % to
learn and 40 % to test, stand in for it; "ordered" is one activity after the other.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinyodl
from tinyodl import pio
from tinyodl.graph import Array
from tinyodl.targets.boards import load_board

ROOT = Path(__file__).parent.parent
WATCH = ROOT / "examples" / "watch"
SHARED = ROOT.parent / "shared"
SEEDS = range(5)

Samples = tuple[Array, Array]


@dataclass(frozen=True)
class Learner:
    """A row of a table: options of `compile`; `started` ones are given the old persons' samples.

    So many samples of each of their classes are `remembered`: put into the cache before the stream.
    """

    name: str
    options: Mapping[str, Any]
    started: bool = False
    remembered: int = 0


FLASH = {"cache_memory": "flash"}
SIGMOID = {"activation": "sigmoid"}

WATCH_LEARNERS = (
    Learner("sgd, last layer, rate 0.02", {"learning_rate": 0.02}),
    Learner("rls", {"learner": "rls"}),
    Learner("rls, started", {"learner": "rls"}, started=True),
    Learner("rls, started, weight 1", {"learner": "rls", "start_weight": 1.0}, started=True),
    Learner("rls, started, forgetting 0.99", {"learner": "rls", "forgetting": 0.99}, started=True),
    Learner("slda", {"learner": "slda"}),
    Learner("slda, started", {"learner": "slda"}, started=True),
    Learner("slda, started, forgetting 0.99", {"learner": "slda", "forgetting": 0.99}, True),
    Learner("ncm", {"learner": "ncm"}),
    Learner("ncm, started", {"learner": "ncm"}, started=True),
    Learner("elm, 64 hidden", {"learner": "elm", "hidden": 64}),
    Learner("elm, 64 hidden, started", {"learner": "elm", "hidden": 64}, started=True),
    Learner("online, started", {"learner": "online"}, started=True),
    Learner("online, sigmoid, started", {"learner": "online", **SIGMOID}, started=True),
    Learner("transfer, cache of 28", {"learner": "transfer", "cache": 28}),
    Learner("transfer, 700 in flash", {"learner": "transfer", "cache": 700, **FLASH}),
    Learner(
        "transfer, 1,400 in flash, half of them the others'",
        {"learner": "transfer", "cache": 1400, **FLASH},
        remembered=100,
    ),
)
HAR_LEARNERS = (
    Learner("sgd, last layer, rate 0.01", {"learning_rate": 0.01}),
    Learner("rls", {"learner": "rls"}),
    Learner("rls, started", {"learner": "rls"}, started=True),
    Learner("rls, started, weight 1", {"learner": "rls", "start_weight": 1.0}, started=True),
    Learner("slda", {"learner": "slda"}),
    Learner("slda, started", {"learner": "slda"}, started=True),
    Learner("ncm", {"learner": "ncm"}),
    Learner("ncm, started", {"learner": "ncm"}, started=True),
    Learner("elm on the input, 128 hidden", {"learner": "elm", "tap": ["input"]}),
    Learner("elm on the input, started", {"learner": "elm", "tap": ["input"]}, started=True),
    Learner("online, started", {"learner": "online"}, started=True),
    Learner("online, sigmoid, started", {"learner": "online", **SIGMOID}, started=True),
    Learner("transfer, cache of 24", {"learner": "transfer", "cache": 24}),
    Learner("transfer, 600 in flash", {"learner": "transfer", "cache": 600, **FLASH}),
)


@dataclass(frozen=True)
class Task:
    """A network, what streams to it by person, and the samples that started learners have seen."""

    model: Path
    learners: tuple[Learner, ...]
    persons: Mapping[int, Sequence[tuple[Samples, Samples]]]  # splits into learn and test
    old: tuple[Samples, Samples] | None  # learn, test


def watch() -> Task:
    """Persons 8 to 10 of the watch example."""

    def half(person: int, part: str) -> Samples:
        with np.load(WATCH / f"person{person}_{part}.npz") as data:
            return data["x"].astype(np.float32), data["y"].astype(np.int64)

    persons = {p: [(half(p, "learn"), half(p, "test"))] for p in (8, 9, 10)}
    return Task(WATCH / "watch_cnn_c7.onnx", WATCH_LEARNERS, persons, _old_watch())


def _old_watch() -> tuple[Samples, Samples] | None:
    """Both halves of the recordings of persons 1 to 7, cut as make_data.py cuts the others."""
    source = SHARED / "data" / "watch_shoulder_6ch_stream.npz"
    if not source.exists():
        return None
    sys.path.insert(0, str(WATCH))
    from make_data import halves

    return tuple(halves(source, range(1, 8)))  # type: ignore[return-value]


def har() -> Task:
    """The drift persons of HAR."""
    with np.load(SHARED / "data" / "har265_official_timedomain.npz") as data:
        x, y = data["x"].astype(np.float32), data["y"].astype(np.int64)
        subject = data["subject"]
    drift = (9, 14, 16, 19, 25)
    persons = {p: [_split(x[subject == p], y[subject == p], seed) for seed in SEEDS] for p in drift}
    old = ~np.isin(subject, drift)
    model = SHARED / "models" / "har_mlp_265_128_6.onnx"
    return Task(model, HAR_LEARNERS, persons, _split(x[old], y[old], 0))


def _split(x: Array, y: Array, seed: int) -> tuple[Samples, Samples]:
    """60 % of the samples, one class after the other, and the rest."""
    order = np.random.default_rng(seed).permutation(len(y))
    learn, test = np.split(order, [round(0.6 * len(y))])
    learn = learn[np.argsort(y[learn], kind="stable")]
    return (x[learn], y[learn]), (x[test], y[test])


def _of_each(samples: Samples, count: int) -> Samples:
    """The first so many samples of each class."""
    x, y = samples
    rows = np.concatenate([np.flatnonzero(y == c)[:count] for c in np.unique(y)])
    return x[rows], y[rows]


def run(task: Task) -> None:
    """Print a row for each learner; with a spread, over five seeds."""
    persons = list(task.persons)
    columns = " | ".join(f"{p}: before | ordered | shuffled" for p in persons)
    print(f"| learner | RAM, B | {columns} | old: before | after {persons[0]} |")
    print("|---" + "|--:" * (3 + 3 * len(persons)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for number, learner in enumerate(task.learners):
            print(_row(task, learner, Path(folder) / str(number)), flush=True)


def _row(task: Task, learner: Learner, folder: Path) -> str:
    options = dict(learner.options)
    if learner.started:
        if task.old is None:
            return f"| {learner.name} | the old persons' recordings are not here |"
        folder.mkdir()
        np.savez(folder / "old.npz", x=task.old[0][0], y=task.old[0][1])
        options["start"] = folder / "old.npz"
    first = _of_each(task.old[0], learner.remembered) if task.old and learner.remembered else None
    ram = tinyodl.plan(task.model, "nrf52840_dk", **options).ram.total
    project = folder / "project"
    tinyodl.compile(task.model, "host", project, **options)
    pio.build(project, load_board("host"))
    cells, old = [f"{ram:,}"], ["", ""]
    for number, splits in enumerate(task.persons.values()):
        old_too = None if number else task.old
        ordered = [_learned(project, *s, None, old_too, first) for s in splits]
        every = splits if len(splits) > 1 else len(SEEDS) * splits
        shuffled = [
            _learned(project, *s, seed, None, first) for s, seed in zip(every, SEEDS, strict=True)
        ]
        cells += [_spread([before for before, _, _ in ordered])]
        cells += [_spread([after for _, after, _ in ordered], bold=True)]
        cells += [_spread([after for _, after, _ in shuffled])]
        old = old if number else [f"{100 * accuracy:.1f}" for accuracy in ordered[0][2]]
    return f"| {learner.name} | {' | '.join(cells)} | {' | '.join(old)} |"


def _spread(accuracies: Sequence[float], *, bold: bool = False) -> str:
    """Mean and standard deviation in %."""
    mean, mark = f"{100 * np.mean(accuracies):.1f}", "**" if bold else ""
    spread = f" +/- {100 * np.std(accuracies, ddof=1):.1f}" if len(accuracies) > 1 else ""
    return f"{mark}{mean}{mark}{spread}"


def _learned(
    project: Path,
    learn: Samples,
    test: Samples,
    seed: int | None,
    old: tuple[Samples, Samples] | None,
    first: Samples | None,
) -> tuple[float, float, list[float]]:
    """Accuracy on `test` before and after one pass over `learn`, and that on the old persons."""
    (project / "flash.bin").unlink(missing_ok=True)
    seen: list[float] = []
    with tempfile.TemporaryDirectory() as log, tinyodl.Session(project, "host") as session:

        def look() -> None:
            if old is not None:
                seen.append(session.evaluate(*old[1]).accuracy or 0.0)

        look()
        settings = {}
        if first:
            session.train(*first, settings={"replay": 0}, run=Path(log) / "first")
            settings = {"replay": session.manifest.plan.samples_a_step}
        done = session.train(
            *learn, shuffle=seed, eval=test, settings=settings, run=Path(log) / "run"
        )
        look()
    assert done.accuracy_before is not None and done.accuracy_after is not None
    return done.accuracy_before, done.accuracy_after, seen


def main() -> None:
    """Print the tables that were asked for, or both."""
    tasks = {"watch": watch, "har": har}
    for name in sys.argv[1:] or tasks:
        print(f"\n{name}, accuracy in %\n")
        run(tasks[name]())


if __name__ == "__main__":
    main()
