"""--learner transfer: few samples behind frozen layers, and what a cache of features is good for.

    .venv/bin/python benchmarks/learners_transfer.py [digits] [cifar] [speech] [watch]

Runs on the host build, which computes the bits of the boards (tests/firmware). RAM is the whole
firmware's on an nRF52840, as predicted, or what it would be; "cache" is that of the features alone.
Mean and standard deviation over seeds, which draw the samples and the head's first weights; for
cifar the samples alone. "before" is given where the network knows the classes before it learns.

digits  lenet_mnist_c8, trained on digits 0 to 7, in float32 and int8: a fresh head for ten digits.
cifar   mcunet_5fps_int8 and mbv2_w035_int8, trained on ImageNet: a fresh head for CIFAR-10 from
        60 images, for three classes (drawn anew by each seed) as MicroTL did, and for all ten.
speech  fsdd_dscnn_c8, trained on digits 0 to 7 of four speakers: a fresh head for ten digits of
        those speakers, and of one it has never heard.
watch   persons 8 to 10 in recorded order: the last layer goes on learning, with and without cache.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
MODELS, DATA = (ROOT.parent / "shared" / name for name in ("models", "data"))

Samples = tuple[Array, Array]
Split = tuple[Samples, Samples]  # learn, test


@dataclass(frozen=True)
class Row:
    """A row of a table: what is compiled, how often its samples are learned, and from which."""

    name: str
    model: Path
    options: Mapping[str, Any]
    epochs: int
    splits: Callable[[], Iterator[Split]]  # one for each seed
    rebuilt: bool = True  # for each seed


def drawn(x: Array, y: Array, classes: Sequence[int], each: int, seed: int) -> Array:
    """`each` samples of every class, one after the other in a random order."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(y == c))[:each] for c in classes]
    picked: Array = rng.permutation(np.concatenate(chosen))
    return picked


def digits(ordered: bool, each: int) -> Iterator[Split]:
    """Ten digits; `ordered`: all zeros first, all nines last."""
    with np.load(DATA / "mnist_12k.npz") as data:
        x, y = (data[f"{name}_train"] for name in "xy")
        tested = slice(0, 1000)
        test = as_digits(data["x_test"][tested]), data["y_test"][tested].astype(np.int64)
    for seed in range(5):
        rows = drawn(x, y, range(10), each, seed)
        if ordered:
            rows = rows[np.argsort(y[rows], kind="stable")]
        yield (as_digits(x[rows]), y[rows].astype(np.int64)), test


def as_digits(x: Array) -> Array:
    scaled: Array = x[:, None].astype(np.float32) / 255
    return scaled


def images(count: int) -> Iterator[Split]:
    """60 images of `count` classes, and 150 others of the same."""
    with np.load(DATA / "cifar10_train4k_lossless.npz") as data:
        x, y = data["x"], data["y"].astype(np.int64)
    for seed in range(10):
        classes = np.sort(np.random.default_rng(seed).permutation(10)[:count])
        rows = drawn(x, y, classes, 210 // count, seed)
        kept = np.concatenate([rows[y[rows] == c][: 60 // count] for c in classes])
        learn = rows[np.isin(rows, kept)]
        test = rows[~np.isin(rows, kept)]
        yield tuple((as_image(x[r]), np.searchsorted(classes, y[r])) for r in (learn, test))  # type: ignore[misc]


def as_image(x: Array) -> Array:
    """128 x 128, bilinear, from -1 to 1, as its card says: images (N, 3, 128, 128)."""
    place = (np.arange(128) + 0.5) / 4 - 0.5
    first = np.clip(np.floor(place), 0, 31).astype(int)
    second = np.minimum(first + 1, 31)
    share = np.clip(place - first, 0, 1).astype(np.float32)
    large = x.transpose(0, 3, 1, 2).astype(np.float32)
    large = large[:, :, first] * (1 - share)[:, None] + large[:, :, second] * share[:, None]
    large = large[..., first] * (1 - share) + large[..., second] * share
    scaled: Array = (np.rint(large) - 128) / np.float32(127.5)
    return scaled


def speech(speakers: Sequence[str], each: int) -> Iterator[Split]:
    """Ten digits of these speakers, `each` recordings of every digit; the data's own test."""
    preprocessing = json.loads((MODELS / "fsdd_dscnn_c8.json").read_text())["preprocessing"]
    with np.load(DATA / "fsdd_mfcc_49x10.npz") as data:
        x = (data["x"].astype(np.float32) - preprocessing["mean"]) / preprocessing["std"]
        x = x[:, None].astype(np.float32)
        y, index = data["digit"].astype(np.int64), data["index"]
        heard = np.isin(data["speakers"][data["speaker"]], speakers)
    learn, test = (np.flatnonzero(heard & part) for part in (index >= 10, index < 10))
    for seed in range(5):
        rows = learn[drawn(x[learn], y[learn], range(10), each, seed)]
        yield (x[rows], y[rows]), (x[test], y[test])


def person(number: int) -> Iterator[Split]:
    """The first and the second halves of a person's recordings, in recorded order."""

    def half(part: str) -> Samples:
        with np.load(WATCH / f"person{number}_{part}.npz") as data:
            return data["x"].astype(np.float32), data["y"].astype(np.int64)

    for _ in range(3):  # the seeds draw from the cache
        yield half("learn"), half("test")


def digit_rows() -> Iterator[Row]:
    for name in ("lenet_mnist_c8", "lenet_mnist_c8_int8"):
        model = MODELS / f"{name}.onnx"
        for cache, memory in ((50, "ram"), (100, "ram"), (300, "flash")):
            options = {"learner": "transfer", "classes": 10, "cache": cache, "cache_memory": memory}
            for ordered in (False, True):
                how = "one digit after the other" if ordered else "shuffled"
                yield Row(f"{name}, 300 samples {how}, {cache} in {memory}", model, options, 20,
                          lambda ordered=ordered: digits(ordered, 30))  # fmt: skip
    options = {"head": "dense:10", "optimizer": "momentum", "batch": 8}
    for epochs in (1, 20):
        for ordered in (False, True):
            how = "one digit after the other" if ordered else "shuffled"
            yield Row(f"{name}, 300 samples {how}, no cache, each sent {epochs} x", model, options,
                      epochs, lambda ordered=ordered: digits(ordered, 30))  # fmt: skip


def cifar_rows() -> Iterator[Row]:
    for name, head in (
        *(("mcunet_5fps_int8", head) for head in ("dense:32,3", "dense:3", "dense:10")),
        *(("mbv2_w035_int8", head) for head in ("dense:3", "dense:10")),
    ):
        count = int(head.split(":")[1].split(",")[-1])
        options = {"learner": "transfer", "head": head, "cache": 60}
        yield Row(f"{name}, {count} classes from 60 images, {head}", MODELS / f"{name}.onnx",
                  options, 40, lambda count=count: images(count), rebuilt=False)  # fmt: skip


def speech_rows() -> Iterator[Row]:
    known = ("george", "jackson", "lucas", "nicolas")
    who = {"known speakers": known, "theo": ("theo",), "yweweler": ("yweweler",)}
    for name, speakers in who.items():
        for head in ("dense:10", "dense:32,10"):
            options = {"learner": "transfer", "head": head, "cache": 100}
            yield Row(f"ten digits, {name}, 100 recordings, {head}", MODELS / "fsdd_dscnn_c8.onnx",
                      options, 40, lambda speakers=speakers: speech(speakers, 10))  # fmt: skip


FLASH = {"cache": 700, "cache_memory": "flash"}  # room for a hundred of each class


def watch_rows() -> Iterator[Row]:
    model = WATCH / "watch_cnn_c7.onnx"
    for number in (8, 9, 10):
        for name, options, epochs in (
            ("sgd, rate 0.02", {"learning_rate": 0.02}, 1),
            ("replay, cache of 28", {"learner": "transfer", "cache": 28}, 1),
            ("replay, cache of 28, 10 epochs", {"learner": "transfer", "cache": 28}, 10),
            ("replay, cache of 70", {"learner": "transfer", "cache": 70}, 1),
            ("replay, all in flash", {"learner": "transfer", **FLASH}, 1),
            ("replay, all in flash, 10 epochs", {"learner": "transfer", **FLASH}, 10),
        ):
            yield Row(f"person {number}, {name}", model, options, epochs,
                      lambda number=number: person(number))  # fmt: skip


TASKS = {"digits": digit_rows, "cifar": cifar_rows, "speech": speech_rows, "watch": watch_rows}


def line(row: Row) -> str:
    """Run it, and say how it went."""
    planned = tinyodl.plan(row.model, "nrf52840_dk", **row.options)
    cache = planned.cache
    fresh = "head" in row.options or "classes" in row.options
    before, after = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed, (learn, test) in enumerate(row.splits()):
            project = Path(folder) / str(seed if row.rebuilt else 0)
            if row.rebuilt or seed == 0:
                tinyodl.compile(row.model, "host", project, **row.options, seed=seed)
                pio.build(project, load_board("host"))
            with tinyodl.Session(project, "host") as session:
                session.reset()
                if not fresh:
                    before.append(session.evaluate(*test).accuracy or 0.0)
                session.train(*learn, epochs=row.epochs, run=Path(folder) / f"run{seed}")
                after.append(session.evaluate(*test).accuracy or 0.0)
    return (
        f"| {row.name} | {spread(before)} | **{spread(after)}** | {cache.ram if cache else 0:,} | "
        f"{cache.flash if cache else 0:,} | {planned.ram.total:,} |"
    )


def spread(accuracies: Sequence[float]) -> str:
    """Mean and standard deviation in %."""
    if not accuracies:
        return ""
    return f"{100 * np.mean(accuracies):.1f} +/- {100 * np.std(accuracies, ddof=1):.1f}"


def main() -> None:
    """Print the tables that were asked for, or all."""
    for name in sys.argv[1:] or TASKS:
        print(f"\n{name}, accuracy in %\n")
        print(
            "| | before | after | cache, B of RAM | of flash | RAM, B |\n|---|--:|--:|--:|--:|--:|"
        )
        for row in TASKS[name]():
            print(line(row), flush=True)


if __name__ == "__main__":
    main()
