"""Learners on streams that had no part in choosing their rules: what a rule brings.

    .venv/bin/python benchmarks/learners_elsewhere.py [forgetting units cache guard anomalies drift]

Everything runs in the generated C, compiled for this computer; boards compute the same bits. The
rules' numbers were chosen on scikit-learn's digits, mnist1d, spoken digits, omniglot and the
generators below with other seeds; none of those is shown. Data and models are not part of the
project; they are looked for beside it, in shared/.

forgetting  rls --forgetting 0.99, 0, 1 and 8 of 32 features always 0: four clusters whose labels
            move on twice, and clusters that wander; fashion in 7 x 7 pixels, labels moving on.
units       rls, the same data in other units: fashion, BasicMotions, JapaneseVowels, and a bearing
            whose first part of each record is learned, one record after the other.
cache       transfer with 64 samples: the wandering clusters, fashion that grows dark and turns
            into its negative, and classes one after the other: what a policy keeps.
guard       with --guard 4 and without: classes one after the other, and the wandering clusters.
anomalies   cwru_ae_64_32_8 without labels: 48 normal windows, then 400 of faults, after a --start
            from 48 normal ones it was not made from. F1 of what it flags.
drift       false alarms in 600 samples that do not change, normal and Laplace; and in how many
            samples a shift of one standard deviation in half of the features is found.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))

from learners_query import SHARED, Board, Stream

from tinyodl.device.codes import Flag
from tinyodl.graph import Array

FOLDER = Path(tempfile.mkdtemp())
SEEDS = range(11, 14)


def layer(features: int, classes: int, certain: float = 0) -> Path:
    """A network of one dense layer, with small drawn weights; `certain`: the bias of output 0."""
    features, classes = int(features), int(classes)
    path = FOLDER / f"{features}x{classes}{'c' if certain else ''}.onnx"
    w = np.random.default_rng(0).normal(0, 0.05, (classes, features)).astype(np.float32)
    b = np.zeros(classes, np.float32)
    b[0] = certain
    constants = [numpy_helper.from_array(a, n) for n, a in (("w", w), ("b", b))]
    node = helper.make_node("Gemm", ["input", "w", "b"], ["y"], "dense", transB=1)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("input", features), ("y", classes))
    ]
    graph = helper.make_graph([node], "m", ends[:1], ends[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path)
    return path


# Streams


def moving_labels(seed: int, dead: int = 0) -> Stream:
    """Four clusters, whose labels move on by one at a third and at two thirds."""
    rng = np.random.default_rng(seed)
    means, of = rng.normal(size=(4, 32)), rng.integers(4, size=3000)
    x = np.maximum(means[of] + rng.normal(0, 1.2, (3000, 32)), 0).astype(np.float32)
    x[:, :dead] = 0
    return Stream(x, (of + np.arange(3000) // 1000) % 4)


def wandering(seed: int, dead: int = 0, speed: float = 0.002) -> Stream:
    """Twelve clusters of four classes that walk through a cube, behind 32 random Relu units."""
    rng = np.random.default_rng(seed)
    at, of = rng.random((12, 6)), rng.integers(4, size=12)
    way = rng.normal(size=(12, 6))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    u, b = rng.normal(0, 1.5, (6, 32)), rng.normal(-0.5, 1, 32)
    rows, labels = [], []
    for _ in range(6000):
        at += speed * way
        way[(at < 0) | (at > 1)] *= -1
        k = rng.integers(12)
        rows.append(at[k] + 0.1 * rng.normal(size=6))
        labels.append(of[k])
    x = np.maximum(np.array(rows) @ u + b, 0).astype(np.float32)
    x[:, :dead] = 0
    return Stream(x, np.array(labels))


def fashion(part: str = "train") -> Stream:
    """In 7 x 7 pixels from 0 to 1."""
    with np.load(SHARED / "data" / "fashion_mnist_11k.npz") as data:
        x, y = data[f"x_{part}"], data[f"y_{part}"].astype(int)
    return Stream(x.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(-1, 49) / np.float32(255), y)


def drawn(stream: Stream, count: int, seed: int) -> Stream:
    return stream.rows(np.random.default_rng(seed).permutation(len(stream))[:count])


def relabelled(seed: int, dead: int = 0) -> Stream:
    """Fashion, whose labels move on."""
    stream = drawn(fashion(), 3000, seed)
    x = stream.x.copy()
    x[:, :dead] = 0
    return Stream(x, (stream.y + np.arange(3000) // 1000) % 10)


def darkening(seed: int) -> Stream:
    """Fashion that turns into its negative."""
    stream = drawn(fashion(), 4000, seed)
    share = np.linspace(0, 1, 4000, dtype=np.float32)[:, None]
    return Stream((1 - share) * stream.x + share * (1 - stream.x), stream.y)


def series(name: str, parts: int) -> tuple[Stream, Stream]:
    """Means of parts of a time series, all channels; to learn and to test."""
    with np.load(SHARED / "data" / f"ucr_{name}.npz") as data:
        both = [
            (data[f"x_{part}"].astype(np.float32), data[f"y_{part}"].astype(int))
            for part in ("train", "test")
        ]
    learn, test = (
        Stream(x.reshape(*x.shape[:2], parts, -1).mean(3).reshape(len(x), -1), y) for x, y in both
    )
    return learn, test


def bearing() -> tuple[Stream, Stream]:
    """Log spectra: of each record the first 60 % and the last 30 %, in the order of time."""
    with np.load(SHARED / "data" / "cwru_load0_12k_win256.npz") as data:
        x, y = data["logspec64"].astype(np.float32), data["condition"].astype(int)
    rows = [np.flatnonzero(y == c) for c in np.unique(y)]
    learn = np.concatenate([r[: int(0.6 * len(r))][::2] for r in rows])
    test = np.concatenate([r[int(0.7 * len(r)) :] for r in rows])
    return Stream(x[learn], y[learn]), Stream(x[test], y[test])


# Measures


def online(board: Board, stream: Stream) -> Array:
    """Whether each sample was predicted right before it was learned."""
    board.c.net_reset()
    right = []
    for x, y in zip(stream.x, stream.y, strict=True):
        board._upload(x)
        board.c.net_train(int(y))
        right.append(board.c.net_predicted() == y)
    return 100 * np.array(right)


def after(board: Board, learn: Stream, test: Stream) -> float:
    board.c.net_reset()
    board.train(learn)
    return board.right(test)


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values):.1f}" if len(values) > 1 else "")


def forgetting() -> None:
    print("| rls, forgetting 0.99, last third | 0 dead | 1 dead | 8 dead |\n|---|--:|--:|--:|")
    for name, stream in (
        ("labels that move on", moving_labels),
        ("clusters that wander", wandering),
        ("fashion, labels that move on", relabelled),
    ):
        cells = []
        for dead in (0, 1, 8):
            found = []
            for seed in SEEDS:
                made = stream(seed, dead)
                board = Board(
                    layer(made.x.shape[1], made.y.max() + 1), learner="rls", forgetting=0.99
                )
                found.append(online(board, made)[-len(made) // 3 :].mean())
            cells.append(spread(found))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def units() -> None:
    print("| rls | x 0.01 | as it is | x 100 |\n|---|--:|--:|--:|")
    fashions = [(drawn(fashion(), 500, seed), drawn(fashion("test"), 1000, 0)) for seed in SEEDS]
    for name, splits in (
        ("fashion, 500", fashions),
        ("BasicMotions", [series("BasicMotions", 4)]),
        ("JapaneseVowels", [series("JapaneseVowels_eq", 5)]),
        ("bearing, record after record", [bearing()]),
    ):
        features, classes = splits[0][0].x.shape[1], splits[0][0].y.max() + 1
        board = Board(layer(features, classes), learner="rls")
        cells = [
            spread([
                after(board, Stream(unit * a.x, a.y), Stream(unit * b.x, b.y)) for a, b in splits
            ])
            for unit in np.float32([0.01, 1, 100])
        ]  # fmt: skip
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _blocks(learn: Stream) -> Stream:
    return learn.rows(np.argsort(learn.y, kind="stable"))


def policies() -> Iterator[tuple[str, dict[str, Any]]]:
    for policy in ("balanced", "ageing", "ring"):
        yield policy, {"cache_policy": policy}


def caches() -> None:
    print("| transfer, 64 samples | balanced | ageing (default) | ring |\n|---|--:|--:|--:|")
    streams = [
        ("clusters that wander, online", wandering),
        ("fashion that becomes its negative, online", darkening),
    ]
    for name, stream in streams:
        cells = []
        for _, options in policies():
            found = []
            for seed in SEEDS:
                made = stream(seed)
                model = layer(made.x.shape[1], made.y.max() + 1)
                board = Board(model, learner="transfer", cache=64, **options)
                found.append(online(board, made)[len(made) // 3 :].mean())
            cells.append(spread(found))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    blocks = [(_blocks(drawn(fashion(), 1000, s)), drawn(fashion("test"), 1000, 0)) for s in SEEDS]
    vowels, motions = series("JapaneseVowels_eq", 5), series("BasicMotions", 4)
    for name, splits in (
        ("fashion, class after class, tested", blocks),
        ("JapaneseVowels, class after class, tested", [(_blocks(vowels[0]), vowels[1])]),
        ("BasicMotions, class after class, tested", [(_blocks(motions[0]), motions[1])]),
        ("bearing, record after record, tested", [bearing()]),
    ):
        features, classes = splits[0][0].x.shape[1], splits[0][0].y.max() + 1
        cells = []
        for _, options in policies():
            board = Board(layer(features, classes), learner="transfer", cache=64, **options)
            cells.append(spread([after(board, *split) for split in splits]))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def guards() -> None:
    print("| | alone | --guard 4 | went back |\n|---|--:|--:|--:|")
    blocks = _blocks(drawn(fashion(), 1000, 11)), drawn(fashion("test"), 1000, 0)
    motions = series("BasicMotions", 4)
    rules: tuple[tuple[str, dict[str, Any]], ...] = (
        ("transfer", {"learner": "transfer", "cache": 64}),
        ("last layer, SGD", {}),
    )
    for rule, options in rules:
        for name, (learn, test) in (
            ("fashion, class after class", blocks),
            ("fashion, shuffled", (drawn(fashion(), 1000, 11), blocks[1])),
            ("BasicMotions, class after class", (_blocks(motions[0]), motions[1])),
        ):
            model = layer(learn.x.shape[1], learn.y.max() + 1)
            plain, guarded = Board(model, **options), Board(model, **options, guard="4")
            alone, back = after(plain, learn, test), 0
            guarded.c.net_reset()
            back = guarded.train(learn)
            right = guarded.right(test)
            print(f"| {rule}: {name}, tested | {alone:.1f} | {right:.1f} | {back} |", flush=True)
        cells = []
        for guard in ({}, {"guard": "4"}):
            board = Board(layer(32, 4), **options, **guard)
            found = [online(board, wandering(seed))[2000:].mean() for seed in SEEDS]
            cells.append(spread(found))
        print(f"| {rule}: clusters that wander, online | {' | '.join(cells)} | |", flush=True)


def anomalies() -> None:
    with np.load(SHARED / "data" / "cwru_load0_12k_win256.npz") as data:
        x, fault = data["logspec64"].astype(np.float64), data["is_fault"].astype(bool)
    card = json.loads((SHARED / "models" / "cwru_ae_64_32_8.json").read_text())["preprocessing"]
    x = ((x - card["mean"]) / card["std"]).astype(np.float32)
    normal, faults = x[~fault], x[fault]
    start = FOLDER / "normal.npz"
    np.savez(start, x=normal[142:190])
    rows = np.concatenate([normal[190:], faults[:: len(faults) // 400][:400]])
    wrong = np.arange(len(rows)) >= len(normal) - 190
    print("| autoencoder | flagged ones learned | not (default) |\n|---|--:|--:|")
    for name, options in (
        ("the last layer learns", {}),
        ("everything learns", {"update": "full"}),
        ("the threshold alone, forgetting 0.98", {"update": "none", "forgetting": 0.98}),
        ("the last layer, percentile:98", {"threshold": "percentile:98"}),
    ):
        cells = []
        for flags in ({"learn_flagged": True}, {}):
            model = SHARED / "models" / "cwru_ae_64_32_8.onnx"
            board = Board(model, loss="reconstruction", start=start, **options, **flags)
            found = []
            for sample in rows:
                board._upload(sample)
                board.c.net_train(-1)
                found.append(board.c.net_predicted() == 1)
            hits = np.sum(np.array(found) & wrong)
            cells.append(f"{200 * hits / (np.sum(found) + np.sum(wrong)):.1f}")
        print(f"| {name}, F1 | {' | '.join(cells)} |", flush=True)


def drifts() -> None:
    print(
        "| features | false alarms, normal | Laplace | found, of 20 | after |\n"
        "|--:|--:|--:|--:|--:|"
    )
    for features in (1, 2, 3, 5, 8, 12, 20, 32, 128):
        board = Board(layer(features, 2, 100), learning_rate=1e-9, drift=True)
        cells, delays = [], []
        for draw in ("normal", "laplace"):
            false = 0
            for seed in range(300, 320):
                rng = np.random.default_rng(seed)
                x = getattr(rng, draw)(size=(600, features)).astype(np.float32)
                alarms = _alarms(board, x)
                false += bool(alarms)
                if draw == "normal":
                    x = rng.normal(size=(800, features)).astype(np.float32)
                    x[500:, : max(1, features // 2)] += 1
                    delays += [at - 500 for at in _alarms(board, x) if at >= 500][:1]
            cells.append(f"{100 * false / 20:.0f} %")
        mean = f"{np.mean(delays):.0f}" if delays else "-"
        print(f"| {features} | {' | '.join(cells)} | {len(delays)} | {mean} |", flush=True)


def _alarms(board: Board, x: Array) -> list[int]:
    board.c.net_reset()
    found = []
    for at, sample in enumerate(x):
        board._upload(sample)
        board.c.net_train(0)
        if Flag.DRIFT in Flag(board.c.net_flags()):
            found.append(at)
    return found


TABLES = {
    "forgetting": forgetting,
    "units": units,
    "cache": caches,
    "guard": guards,
    "anomalies": anomalies,
    "drift": drifts,
}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or TABLES:
        print(f"\n{chosen}\n")
        TABLES[chosen]()
