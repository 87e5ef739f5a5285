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


def cifar(seed: int, train: int = 300, test: int = 300) -> Split:
    """Images of the ten classes of CIFAR-10, enlarged for the networks of 128x128."""
    with np.load(DATA / "cifar10_train4k_lossless.npz") as data:
        x, y = data["x"], data["y"]
    return _split(seed, train, test, y, lambda rows: for_128(x[rows]))


def fashion(seed: int, train: int = 500, test: int = 400) -> Split:
    """The ten classes of Fashion-MNIST, grey in three channels, enlarged as `cifar` is."""
    with np.load(DATA / "fashion_mnist_11k.npz") as data:
        x = np.concatenate([data["x_train"], data["x_test"]])
        y = np.concatenate([data["y_train"], data["y_test"]])
    return _split(seed, train, test, y, lambda rows: for_128(x[rows, :, :, None].repeat(3, 3)))


def for_128(pixels: Array) -> Array:
    """Images (N, H, W, 3) as mcunet_5fps and mbv2_w035 take them: float32 (N, 3, 128, 128).

    (pixel - 128) * 2 / 255, which their first scale turns into pixel - 128 exactly. Enlarged
    between pixels: by squares, a linear classifier on mcunet's features of CIFAR-10 is 10 points
    worse (58.8 % and 68.5 % right after 600 samples).
    """
    enlarged = np.rint(_enlarged(_enlarged(pixels.astype(np.float32), 1, 128), 2, 128))
    return (enlarged.transpose(0, 3, 1, 2) - np.float32(128)) * np.float32(2 / 255)


def _enlarged(x: Array, axis: int, size: int) -> Array:
    """Linear between the centres of elements, along an axis; the outermost ones go on."""
    last = x.shape[axis] - 1
    at = np.clip((np.arange(size) + 0.5) * (last + 1) / size - 0.5, 0, last)
    low = np.floor(at).astype(int)
    shape = [size if index == axis else 1 for index in range(x.ndim)]
    share = (at - low).astype(np.float32).reshape(shape)
    ends = (x.take(low, axis), x.take(np.minimum(low + 1, last), axis))
    return ends[0] * (1 - share) + ends[1] * share


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
