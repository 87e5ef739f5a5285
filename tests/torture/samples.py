"""Bad samples in a stream: what a broken sensor, a wrong unit or a swapped byte makes of digits.

A trial streams 64 digits to a learner, in this process, with a bad sample at drawn places: as often
as not several in a row. The rule of `tinyodl.learning.outliers` says which are outliers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.compilednet import CompiledNet
from tests.models import ROOT
from tinyodl.device.codes import Flag
from tinyodl.learning.outliers import FACTOR, REACH, are_outliers, grown, peaks

WHAT = (
    "digits with bad samples among them go to each learner; an outlier is flagged and changes no "
    "bit of what the board keeps, so the weights are those of the stream without it, and with "
    "samples that are no outliers all weights stay finite."
)

_MODEL = ROOT / "tests" / "models" / "digits_mlp_64_32_10.onnx"
_COUNT = 64
_BESIDE = {"drift": True, "guard": "5", "metrics": True}
LEARNERS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "everything by adam": {"update": "full", "optimizer": "adam", "learning_rate": 0.001},
    "momentum in batches": {"optimizer": "momentum", "batch": 4},
    "rls": {"learner": "rls", **_BESIDE},
    "elm": {"learner": "elm", "hidden": 16},
    "online": {"learner": "online", "forgetting": 0.95, **_BESIDE},
    "labels as they come": {"learner": "online", "max_classes": 12},
    "transfer": {"learner": "transfer", "cache": 12, "cache_policy": "ring", "replay": 3},
}


def _one(value: float) -> Callable[[np.ndarray, np.random.Generator], None]:
    def spoil(x: np.ndarray, random: np.random.Generator) -> None:
        x[random.integers(x.size)] = value

    return spoil


def _all(value: float) -> Callable[[np.ndarray, np.random.Generator], None]:
    def spoil(x: np.ndarray, random: np.random.Generator) -> None:
        x[:] = value

    return spoil


def _times(factor: float) -> Callable[[np.ndarray, np.random.Generator], None]:
    def spoil(x: np.ndarray, random: np.random.Generator) -> None:
        x *= np.float32(factor)

    return spoil


def _swapped(x: np.ndarray, random: np.random.Generator) -> None:
    x[:] = (x + random.uniform(0, 1e-3, x.size).astype(np.float32)).byteswap()


def _stuck(x: np.ndarray, random: np.random.Generator) -> None:
    x[random.choice(x.size, 8, replace=False)] = 1.0


BAD = {
    "-9999 in one value": _one(-9999.0),
    "-9999 in all": _all(-9999.0),
    "1e30 in one value": _one(1e30),
    "infinity": _one(np.inf),
    "no number": _one(np.nan),
    "all zeros": _all(0.0),
    "stuck at their largest": _stuck,
    "bytes swapped": _swapped,
    "m/s2 for g, 9.81 times": _times(9.81),
    "degrees for radians, 57.3 times": _times(57.3),
    "not scaled, 255 times": _times(255.0),
    "thousandths, 1000 times": _times(1000.0),
}


@cache
def _net(learner: str) -> CompiledNet:
    with tempfile.TemporaryDirectory() as folder:
        return CompiledNet(_MODEL, Path(folder) / "net", **LEARNERS[learner])


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(ROOT / "tests" / "data" / "sklearn_digits_8x8.npz") as data:
        return (data["x"].reshape(-1, 64) / 16).astype(np.float32), data["y"].astype(int)


def trials(seed: int) -> Iterator[tuple[str, str | None]]:
    random = np.random.default_rng(seed)
    while True:
        bad = list(BAD)[random.integers(len(BAD))]
        learner = list(LEARNERS)[random.integers(len(LEARNERS))]
        try:
            wrong = _trial(learner, bad, random)
        except AssertionError as error:
            wrong = str(error)
        yield bad, None if wrong is None else f"{learner}: {wrong}"


def _trial(learner: str, bad: str, random: np.random.Generator) -> str | None:
    x, y = _digits()
    rows = random.choice(len(x), _COUNT, replace=False)
    samples, labels = x[rows].copy(), y[rows]
    count = int(random.integers(1, 9))
    first = int(random.integers(1, _COUNT - count))  # behind one that says how far samples reach
    places = (
        range(first, first + count)
        if random.random() < 0.5
        else random.choice(np.arange(1, _COUNT), count, replace=False)
    )
    for place in places:
        BAD[bad](samples[place], random)
    net = _net(learner)
    net.library.net_reset()
    reach = np.zeros(1, np.float32)
    clean = []
    for place, (sample, label) in enumerate(zip(samples, labels, strict=True)):
        peak = peaks(sample[None], [sample.size])[0]
        outlier = bool(are_outliers(peak, reach, np.float32(FACTOR)).any())
        before = net.state() if outlier else {}
        net.train(sample, int(label))
        if (Flag.OUTLIER in net.flags) != outlier:
            return f"sample {place} is{'' if outlier else ' no'} outlier to the host alone"
        if outlier and net.state() != before:
            return f"the outlier {place} changed what the board keeps"
        if not outlier:
            reach = grown(peak, reach)
            clean.append(place)
    if net.parameter(REACH).tobytes() != reach.tobytes():
        return "host and board know other samples"
    for tensor in net.parameters:
        if tensor.dtype == "float32" and not np.isfinite(net.parameter(tensor.name)).all():
            return f"{tensor.name} has values that are not finite"
    found = net.state()
    net.library.net_reset()
    for place in clean:
        net.train(samples[place], int(labels[place]))
    return None if net.state() == found else "the weights are not those without the outliers"
