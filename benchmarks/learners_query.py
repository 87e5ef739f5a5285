"""Labels on request, drift, and the guard: what they save, find and prevent.

    .venv/bin/python benchmarks/learners_query.py [query] [guard]

Everything runs in the generated C, compiled for this computer; boards compute the same bits.

query   har265. The learner begins with 70 % of the windows of 25 people (--start), meets the other
        30 % of theirs, then 60 % of a new person (9, 14, 16, 19, 25), both in recorded order,
        and is tested on the other 40 % of that person. Windows of known people overlap those that
        were learned by half: "before drift" is optimistic. Learners: elm with 128 hashed units on
        the 265 inputs, and rls and batch-1 SGD on the 128 features of har_mlp_265_128_6 (SGD begins
        with the file's weights, and learns where windows lie from the first stream).
guard   the last layer by batch-1 SGD, all layers, and the last layer with a cache of four features
        of each class, with the guard and without: har_mlp_265_128_6 on the same split of the five
        people (in recorded order and shuffled), and the watch example.

The data and models are not part of the project; they are looked for beside it, in shared/.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from tinyodl.compiler import compilation
from tinyodl.device.codes import Flag
from tinyodl.graph import Array
from tinyodl.host_run.network import HostNetwork
from tinyodl.targets.boards import load_board

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
WATCH = ROOT / "examples" / "watch"
HAR = SHARED / "models" / "har_mlp_265_128_6.onnx"
DRIFT_PEOPLE = (9, 14, 16, 19, 25)
SEEDS = range(10)

FIXED = ("margin:0.1", "margin:0.2", "margin:0.3", "margin:0.4", "margin:0.5", "margin:0.7")
BUDGETS = (0.01, 0.02, 0.05, 0.1)
LEARNERS: Mapping[str, dict[str, Any]] = {
    "elm 128": {"learner": "elm", "tap": ["input"]},
    "elm 128, forgetting 0.995": {"learner": "elm", "tap": ["input"], "forgetting": 0.995},
    "rls": {"learner": "rls"},
    "rls, forgetting 0.995": {"learner": "rls", "forgetting": 0.995},
    "sgd, last layer": {"learning_rate": 0.01},
}


@dataclass(frozen=True)
class Stream:
    """Samples and labels, in their order."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, which: Array) -> Stream:
        return Stream(self.x[which], self.y[which])


class Board:
    """The generated C of a project."""

    def __init__(self, model: Path, **options: Any) -> None:
        made = compilation(model, load_board("nrf52840_dk"), options)
        self.net = HostNetwork.of(made.lowered)

    def right(self, tested: Stream) -> float:
        """Accuracy, in percent."""
        found = self.net.evaluate_all(tested.x, tested.y)
        return 100 * float(np.mean(found.predicted == tested.y))

    def train(self, stream: Stream) -> int:
        """One pass; how often the guard went back."""
        flags = self.net.train_all(stream.x, stream.y).flags
        self.net.settle()
        return int(np.count_nonzero(flags & Flag.RETURNED))

    def ask(self, stream: Stream) -> Asked:
        """One pass in which labels go only where they are wanted."""
        found = self.net.ask_all(stream.x, stream.y)
        wanted = (found.flags & Flag.WANTED) != 0
        drifts = np.flatnonzero(found.flags & Flag.DRIFT).tolist()
        wrong = int(np.count_nonzero(~wanted & (found.predicted != stream.y)))
        return Asked(len(stream), int(wanted.sum()), wrong, tuple(drifts))


@dataclass(frozen=True)
class Asked:
    """A stream with labels on request; `wrong` of the answers that nobody checked."""

    samples: int
    asked: int
    wrong: int
    drifts: tuple[int, ...]

    @property
    def saved(self) -> float:
        return 100 * (1 - self.asked / self.samples)


# Data


def har() -> tuple[Stream, Array]:
    """All windows in recorded order, and whose they are."""
    with np.load(SHARED / "data" / "har265_official_timedomain.npz") as data:
        x, y, subject = data["x"].astype(np.float32), data["y"].astype(int), data["subject"]
    order = np.argsort(subject, kind="stable")
    return Stream(x[order], (y - y.min())[order]), subject[order]


def known(every: Stream, subject: Array) -> tuple[Stream, Stream]:
    """(learned before, met before the drift) of the people who are not new."""
    there = ~np.isin(subject, DRIFT_PEOPLE)
    learned = np.random.RandomState(0).rand(len(every)) < 0.7
    return every.rows(there & learned), every.rows(there & ~learned)


def new_person(
    every: Stream, subject: Array, person: int, seed: int, shuffled: bool = False
) -> tuple[Stream, Stream]:
    """(60 % of a person's windows, the others); the first in recorded order, or shuffled."""
    windows = np.flatnonzero(subject == person)
    order = np.random.default_rng(seed).permutation(windows)
    count = int(0.6 * len(windows))
    learned = order[:count] if shuffled else np.sort(order[:count])
    return every.rows(learned), every.rows(np.sort(order[count:]))


def watch(person: int, part: str) -> Stream:
    with np.load(WATCH / f"person{person}_{part}.npz") as data:
        return Stream(data["x"].astype(np.float32), data["y"].astype(int))


# Experiments


def mean(values: Iterable[float]) -> str:
    found = np.array(list(values), float)
    return f"{found.mean():.1f} ± {found.std():.1f}"


def query_rows(learner: str, folder: Path) -> None:
    """One learner under every rule."""
    every, subject = har()
    learned, met = known(every, subject)
    start = folder / "start.npz"
    np.savez(start, x=learned.x, y=learned.y)
    splits = {
        (person, seed): new_person(every, subject, person, seed)
        for person in DRIFT_PEOPLE
        for seed in SEEDS
    }
    rules = [("always", 0.0), *((rule, 0.0) for rule in FIXED), *(("auto", b) for b in BUDGETS)]
    begin = {"start": start} if "learner" in LEARNERS[learner] else {}
    boards = {
        rule: Board(HAR, **LEARNERS[learner], **begin, query=rule, drift=True)
        for rule in ("always", "margin:0.5", "auto")
    }
    parts = boards["auto"].manifest.ram.parts
    print(f"\n{learner}: optimizer {parts['optimizer']:,} B, watching {parts['watching']:,} B")
    board = boards["always"]
    before = board.right(met)
    after = {key: board.right(test) for key, (_, test) in splits.items()}
    people = ", ".join(f"{p}: {mean(after[p, s] for s in SEEDS)}" for p in DRIFT_PEOPLE)
    print(f"before drift {before:.1f}, after drift {mean(after.values())}, by person {people}")
    print("| rule | known people: saved, wrong unchecked, drifts | new person: saved | wrong "
          "unchecked | after learning | known people then | drift found in | at |")  # fmt: skip
    for rule, budget in rules:
        board = boards["margin:0.5" if rule.startswith("margin") else rule]
        board.c.net_reset()
        if rule == "auto":
            board.net.setting("error_budget", budget)
        elif rule.startswith("margin"):
            board.net.setting("threshold", float(rule.partition(":")[2]))
        first = board.ask(met)
        held = board.net.save()
        found, ended, old = [], {}, []
        for key, (stream, test) in splits.items():
            board.net.restore(held)
            found.append((key, board.ask(stream)))
            ended[key] = board.right(test)
            if key[1] == SEEDS[0]:
                old.append(board.right(met))
        unchecked = sum(a.samples - a.asked for _, a in found)
        wrong = 100 * sum(a.wrong for _, a in found) / max(unchecked, 1)
        wrong_first = 100 * first.wrong / max(first.samples - first.asked, 1)
        at = [a.drifts[0] for _, a in found if a.drifts]
        by_person = " ".join(
            f"{p}:{sum(bool(a.drifts) for (q, _), a in found if q == p)}" for p in DRIFT_PEOPLE
        )
        name = f"auto, budget {budget:g}" if rule == "auto" else rule
        delay = f"{np.mean(at):.0f}" if at else "-"
        print(f"| {name} | {first.saved:.1f} %, {wrong_first:.2f} %, {len(first.drifts)} | "
              f"{mean(a.saved for _, a in found)} % | {wrong:.2f} % | {mean(ended.values())} | "
              f"{np.mean(old):.1f} | {by_person} | {delay} |", flush=True)  # fmt: skip


GUARDED: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {  # on har265, on the watch
    "SGD, last layer": ({"learning_rate": 0.01}, {"learning_rate": 0.02}),
    "SGD, all layers": (
        {"learning_rate": 0.01, "update": "full"},
        {"learning_rate": 0.02, "update": "full"},
    ),
    "transfer, last layer": (
        {"learner": "transfer", "cache": 24},
        {"learner": "transfer", "cache": 28},
    ),
}


def guard_rows(learner: str) -> None:
    """One way to learn, with the guard and without."""
    print(f"\n{learner}\n| person, order | before | alone | guard 4 | returns |")
    every, subject = har()
    models = (HAR, WATCH / "watch_cnn_c7.onnx")
    boards = [
        (Board(model, **options), Board(model, **options, guard="4"))
        for model, options in zip(models, GUARDED[learner], strict=True)
    ]
    rows: list[tuple[str, int, list[tuple[Stream, Stream]]]] = []
    for person in DRIFT_PEOPLE:
        for shuffled in (False, True):
            splits = [new_person(every, subject, person, seed, shuffled) for seed in SEEDS]
            rows.append((f"har {person}, {'shuffled' if shuffled else 'recorded'}", 0, splits))
    for person in (8, 9, 10):
        learn, test = watch(person, "learn"), watch(person, "test")
        rows.append((f"watch {person}, recorded", 1, [(learn, test)]))
        orders = [np.random.default_rng(seed).permutation(len(learn)) for seed in SEEDS]
        mixed = [(learn.rows(order), test) for order in orders]
        rows.append((f"watch {person}, shuffled", 1, mixed))
    for name, which, splits in rows:
        plain, guarded = boards[which]
        found: list[list[float]] = [[], [], [], []]
        for stream, test in splits:
            plain.c.net_reset()
            guarded.c.net_reset()
            found[0].append(plain.right(test))
            plain.train(stream)
            found[1].append(plain.right(test))
            found[3].append(guarded.train(stream))
            found[2].append(guarded.right(test))
        harm = mean(b - a for a, b in zip(found[0], found[2], strict=True))
        print(f"| {name} | {mean(found[0])} | {mean(found[1])} | {mean(found[2])} ({harm}) | "
              f"{np.mean(found[3]):.1f} |", flush=True)  # fmt: skip
    parts = boards[0][1].manifest.ram.parts, boards[1][1].manifest.ram.parts
    print("watching:", [part["watching"] for part in parts])


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["query", "guard"]
    with tempfile.TemporaryDirectory() as name:
        if "query" in chosen:
            for learner in LEARNERS:
                query_rows(learner, Path(name))
        if "guard" in chosen:
            for learner in GUARDED:
                guard_rows(learner)
