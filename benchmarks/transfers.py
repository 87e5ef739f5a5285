"""Data of the transfer tasks, split by seed; from shared/data beside the project.

Training and test samples of a split share nothing: digits and images are drawn without
replacement, the watch's windows come from different halves of each recording.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyodl.graph import Array

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
WATCH = Path(__file__).parent.parent / "examples" / "watch"
GROUP = 1000  # a seed of the watch is person * GROUP + seed


@dataclass(frozen=True)
class Split:
    """x (N, *sample) float32 as the float network takes it, y (N,) class numbers."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def digits(seed: int, train: int = 500, test: int = 1000) -> Split:
    """All ten digits, (1, 28, 28), pixel / 255."""
    with np.load(DATA / "mnist_12k.npz") as data:
        x = np.concatenate([data["x_train"], data["x_test"]])
        y = np.concatenate([data["y_train"], data["y_test"]])
    return _split(seed, train, test, y, lambda rows: x[rows, None] / np.float32(255))


def cifar(seed: int, train: int = 500, test: int = 400, size: int = 128) -> Split:
    """Images of the ten classes of CIFAR-10, each pixel a square, (3, 128, 128).

    As the networks for 128x128 expect them: (pixel - 128) * 2 / 255.
    """
    with np.load(DATA / "cifar10_train4k_lossless.npz") as data:
        x, y = (data[name] for name in data.files)
    times = size // x.shape[1]

    def enlarged(rows: Array) -> Array:
        pixels = x[rows].transpose(0, 3, 1, 2).repeat(times, 2).repeat(times, 3)
        return (pixels.astype(np.float32) - np.float32(128)) * np.float32(2 / 255)

    return _split(seed, train, test, y, enlarged)


def watch(seed: int) -> Split:
    """Person seed // GROUP: the first half of each recording, shuffled, and the second halves."""
    person, order = divmod(seed, GROUP)
    halves = []
    for half in ("learn", "test"):
        with np.load(WATCH / f"person{person}_{half}.npz") as data:
            halves.append((data["x"].astype(np.float32), data["y"].astype(np.int64)))
    (x, y), test = halves
    rows = np.random.default_rng(order).permutation(len(y))
    return Split(x[rows], y[rows], *test)


def _split(seed: int, train: int, test: int, y: Array, x_of: Callable[[Array], Array]) -> Split:
    rows = np.random.default_rng(seed).permutation(len(y))[: train + test]
    x, labels = x_of(rows), y[rows].astype(np.int64)
    return Split(x[:train], labels[:train], x[train:], labels[train:])
