"""How far clean samples go beyond those before them: the margins of the gate for outliers.

    .venv/bin/python benchmarks/outliers.py

For each stream, the largest peak of a sample as a multiple of the reach when it came (see
`tinyodl.learning.outliers`); from 32 on it would be a false alarm. "recorded": in the file's order.
"new": each person, speaker, class or condition after each other one alone. "shuffled": the largest
of 100 orders. In these the host looked at the first 16 samples, as `stream-train` does. "alone":
the 100 orders on a board whose first sample is its reach, as a caller of lib/net has it. "-9999":
one such value among the samples, as a multiple of the whole stream's reach; 32 or less is not seen.

The data are not part of the project; they are looked for beside it, in shared/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyodl.graph import Array
from tinyodl.learning.outliers import FACTOR, GROWTH, first_reach, peaks

SHARED = Path(__file__).parent.parent.parent / "shared"
WINDOW, STEP = 100, 50  # of the watch
ORDERS = 100


@dataclass(frozen=True)
class Stream:
    """The peaks of samples in recorded order, and to which person, class or condition each is."""

    name: str
    peaks: Array  # (N,)
    group: Array  # (N,)


def _stream(name: str, x: Array, group: Array) -> Stream:
    rows = np.asarray(x, np.float32).reshape(len(x), -1)
    return Stream(name, peaks(rows, [rows.shape[1]])[:, 0], np.asarray(group))


def _data(name: str) -> dict[str, Array]:
    with np.load(SHARED / "data" / f"{name}.npz", allow_pickle=False) as data:
        return dict(data)


def streams() -> Iterator[Stream]:
    """The streams of the project and its benchmarks."""
    data = _data("watch_shoulder_6ch_stream")
    card = json.loads((SHARED / "models" / "watch_cnn_c7.json").read_text("utf-8"))
    given = card["preprocessing"]
    raw = data["signal"] * data["scale"]
    ends = data["rec_start"]
    rows = [
        (start, person)
        for first, end, person in zip(ends[:-1], ends[1:], data["subject"], strict=True)
        for start in range(first, end - WINDOW + 1, STEP)
    ]
    persons = np.array([person for _, person in rows])
    normalised = (raw - np.float32(given["mean"])) / np.float32(given["std"])
    for name, signal in (("watch", normalised), ("watch, raw", raw)):
        yield _stream(name, np.stack([signal[at : at + WINDOW] for at, _ in rows]), persons)
    data = _data("har265_official_timedomain")
    yield _stream("HAR", data["x"], data["subject"])
    data = _data("cwru_load0_12k_win256")
    yield _stream("bearing, spectra", data["logspec64"], data["condition"])
    yield _stream("bearing, raw", data["signal"] * data["scale"], data["condition"])
    data = _data("fsdd_mfcc_49x10")
    yield _stream("speech", data["x"], data["speaker"])
    for name, title in (
        ("ucr_BasicMotions", "BasicMotions"),
        ("ucr_JapaneseVowels_eq", "JapaneseVowels"),
        ("mnist1d_5k", "mnist1d"),
        ("mnist_12k", "MNIST, 0 to 255"),
        ("fashion_mnist_11k", "Fashion-MNIST, 0 to 255"),
    ):
        data = _data(name)
        parts = ("train", "test")
        x = np.concatenate([data[f"x_{part}"] for part in parts])
        yield _stream(title, x, np.concatenate([data[f"y_{part}"] for part in parts]))
    data = _data("sklearn_digits_8x8")
    yield _stream("digits, 0 to 16", data["x"], data["y"])
    data = _data("omniglot_small_28")
    yield _stream("Omniglot, 0 to 255", data["x"], data["alphabet"])
    data = _data("cifar10_train4k_lossless")
    yield _stream("CIFAR-10, 0 to 255", data["x"], data["y"])


def largest(found: Array, reach: float) -> tuple[float, float]:
    """The largest multiple of the reach among peaks in their order, and the reach behind them."""
    most = 0.0
    for peak in found.tolist():
        if peak > reach:
            most = max(most, peak / reach) if reach else most
            reach = min(peak, GROWTH * reach) if reach else peak
    return most, reach


def _looked_at(found: Array) -> float:
    return float(first_reach(found[:, None])[0])


def row(stream: Stream) -> str:
    """A line of the table."""
    random = np.random.default_rng(0)
    orders = [stream.peaks[random.permutation(len(stream.peaks))] for _ in range(ORDERS)]
    groups = [stream.peaks[stream.group == each] for each in np.unique(stream.group)]
    pairs = [np.concatenate((a, b)) for a in groups for b in groups if a is not b]
    recorded, reach = largest(stream.peaks, _looked_at(stream.peaks))
    figures = (
        recorded,
        max(largest(pair, _looked_at(pair))[0] for pair in pairs),
        max(largest(order, _looked_at(order))[0] for order in orders),
        max(largest(order, 0.0)[0] for order in orders),
    )
    cells = " | ".join(f"{max(figure, 1):.1f}" for figure in figures)
    return f"| {stream.name} | {len(stream.peaks):,} | {cells} | {9999 / reach:,.0f} |"


def main() -> None:
    """Print the table."""
    print(f"False alarms from {FACTOR:g} on.\n")
    print("| stream | samples | recorded | new | shuffled | alone | -9999 |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for stream in streams():
        print(row(stream), flush=True)


if __name__ == "__main__":
    main()
