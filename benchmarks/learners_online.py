"""What --learner online learns on a stream: a new class, a new person, a machine that changes.

    .venv/bin/python benchmarks/learners_online.py [digits] [speech] [watch] [losses] [bearing]

One pass, sample by sample, on the host build, which computes the same bits as the boards. Each
variant has the learning rate of a fixed list that was best on a seed (digits, speech, bearing) or
on persons (1 to 3, watch) of its own, which are not among those reported. Means and standard
deviations.

digits   lenet_mnist_c8, which knows digits 0 to 7, meets all ten: 1,500 of mnist_12k's training
         images in a drawn order; and then 8 and 9 alone, 300 of them. Tested on 1,000 of its test
         images, old (0 to 7) and new (8 and 9) apart. 5 seeds.
speech   fsdd_dscnn_c8, which knows digits 0 to 7 of four speakers, meets all ten of them: 800 of
         their training recordings in a drawn order; and then theo or yweweler, whom it has never
         heard: all 400 of the speaker's training recordings of ten digits, in a drawn order. Tested
         on the data's own test recordings, 400 of the four and 100 of each other speaker. 5 seeds;
         the rate is the one that is best on the four. "start": from 640 recordings of 0 to 7.
watch    watch_cnn_c7 meets persons 8, 9 and 10: the first halves of their recordings, shuffled
         (5 seeds) and as recorded; tested on the second halves. "start": from the first halves of
         persons 1 to 7.
losses   the same persons, shuffled, from zero, with each loss of labels at each rate of a list:
         means over persons and seeds; no rate is chosen.
bearing  cwru_ae_64_32_8, an autoencoder of the log spectra of a bearing, made from the first 142 of
         238 normal windows. Its errors of the next 48, which it has not seen, give the threshold
         (--start, gaussian:3). Then the machine changes: band b of 64 of every log spectrum, normal
         or faulty, is raised by gain + tilt (2 b / 63 - 1), as by another sensor in another place;
         gain is drawn from 0.2 to 0.8 and tilt from -0.5 to 0.5 for each seed. It learns without
         labels from those 190 windows so changed, in a drawn order, twice over. Tested on the last
         48 normal windows and on every eighth of 1,903 with faults. 5 seeds.

The data and models are not part of the project; they are looked for beside it, in shared/.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tinyodl
from tinyodl import pio
from tinyodl.errors import UserError
from tinyodl.graph import Array
from tinyodl.learning.learners import learner_named
from tinyodl.runs.record import Evaluation
from tinyodl.runs.summary import RunSummary
from tinyodl.targets.boards import load_board

SHARED = Path(__file__).parent.parent.parent / "shared"
WATCH = Path(__file__).parent.parent / "examples" / "watch"
SEEDS = range(5)
TUNING = 100
RATES = (0.03, 0.01, 0.003, 0.001)
Samples = tuple[Array, Array]


def project(folder: Path, model: Path, **options: Any) -> Path:
    """A project for the host build, built."""
    made = Path(tempfile.mkdtemp(dir=folder))
    tinyodl.compile(model, "host", made, **options)
    pio.build(made, load_board("host"))
    return made


def stream(
    made: Path, parts: Sequence[Samples], tests: Sequence[Samples]
) -> list[list[Evaluation]]:
    """Evaluations of the tests before the first part and after each, from the compiled weights."""
    (made / "flash.bin").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as runs, tinyodl.Session(made, "host") as session:
        found = [[session.evaluate(*test) for test in tests]]
        for index, (x, y) in enumerate(parts):
            summary: RunSummary = session.train(x, y, run=Path(runs) / str(index))
            assert summary.status == "done"
            found.append([session.evaluate(*test) for test in tests])
    return found


def percent(values: Iterable[float | None]) -> str:
    """Mean and standard deviation of shares."""
    known = 100 * np.array([value for value in values if value is not None])
    spread = f" +/- {known.std(ddof=1):.1f}" if len(known) > 1 and known.std() > 0 else ""
    return f"{known.mean():.1f}{spread}"


# Digits


@cache
def mnist() -> Mapping[str, Array]:
    with np.load(SHARED / "data" / "mnist_12k.npz") as data:
        return {name: data[name] for name in data.files}


def digits_of(rows: Array, part: str = "train") -> Samples:
    x, y = mnist()[f"x_{part}"][rows, None], mnist()[f"y_{part}"][rows]
    return x / np.float32(255), y.astype(np.int64)


def growing(old: Path, start: str) -> dict[str, dict[str, Any]]:
    """Ways to learn ten digits where eight are known; `old` has samples of those."""
    online: dict[str, Any] = {"learner": "online", "max_classes": 10}
    return {
        "online --grow": {**online, "grow": True},
        f"online --{start}": {**online, "start": old},
        "online, from nothing": online,
        "rls, from nothing": {"learner": "rls", "max_classes": 10},
        "slda, from nothing": {"learner": "slda", "max_classes": 10},
        f"slda --{start}": {"learner": "slda", "max_classes": 10, "start": old},
        "ncm, from nothing": {"learner": "ncm", "max_classes": 10},
        f"ncm --{start}": {"learner": "ncm", "max_classes": 10, "start": old},
    }


def digits(folder: Path) -> None:
    """A new class."""
    old = folder / "old.npz"
    x, y = digits_of(np.flatnonzero(mnist()["y_train"] < 8)[:1000])
    np.savez(old, x=x, y=y)
    tests = mnist()["y_test"][:1000]
    new = [
        digits_of(np.flatnonzero(tests < 8), "test"),
        digits_of(np.flatnonzero(tests > 7), "test"),
    ]

    def learn(made: Path, seed: int) -> list[list[float]]:
        order = np.random.default_rng(seed).permutation(10_000)
        mixed, alone = order[:1500], order[1500:][mnist()["y_train"][order[1500:]] > 7][:300]
        parts = [digits_of(mixed), digits_of(alone)]
        done = [[e.accuracy or 0.0 for e in each] for each in stream(made, parts, new)]
        sizes = [len(test[1]) for test in new]
        return [[*each, float(np.average(each, weights=sizes))] for each in done]

    print(
        "| learner | rate | before: old, all | mixed stream: old, new, all | then 8 and 9 alone |"
    )
    print("|---|--:|--:|--:|--:|")
    for name, options in growing(old, "start, 1,000 old").items():
        made, rate = tuned(folder, SHARED / "models" / "lenet_mnist_c8.onnx", options,
                           lambda made: learn(made, TUNING)[1][2])  # fmt: skip
        found = np.array([learn(made, seed) for seed in SEEDS])
        cells = [", ".join(percent(found[:, stage, k]) for k in shown)
                 for stage, shown in ((0, (0, 2)), (1, (0, 1, 2)), (2, (0, 1, 2)))]  # fmt: skip
        print(f"| {name} | {rate} | {' | '.join(cells)} |", flush=True)


def tuned(
    folder: Path,
    model: Path,
    options: dict[str, Any],
    score: Any,
    rates: Sequence[float] = RATES,
) -> tuple[Path, str]:
    """The variant with the rate that scores best; only gradients have one."""
    if learner_named(options["learner"]).rule.replaces:
        return project(folder, model, **options), "-"
    made = {rate: project(folder, model, learning_rate=rate, **options) for rate in rates}
    best = max(rates, key=lambda rate: score(made[rate]))
    return made[best], f"{best:g}"


# Speech

KNOWN = ("george", "jackson", "lucas", "nicolas")


def recordings(speakers: Sequence[str], *, test: bool) -> Samples:
    """Spoken digits of these speakers, as the model's card wants them; the data's own split."""
    card = json.loads((SHARED / "models" / "fsdd_dscnn_c8.json").read_text())["preprocessing"]
    with np.load(SHARED / "data" / "fsdd_mfcc_49x10.npz") as data:
        wanted = np.isin(data["speakers"][data["speaker"]], speakers)
        rows = np.flatnonzero(wanted & ((data["index"] < 10) == test))
        x = (data["x"][rows].astype(np.float64) - card["mean"]) / card["std"]
        return x[:, None].astype(np.float32), data["digit"][rows].astype(np.int64)


def speech(folder: Path) -> None:
    """A new class, and a new speaker."""
    x, y = recordings(KNOWN, test=False)
    known = np.random.default_rng(TUNING).permutation(np.flatnonzero(y < 8))[:640]
    old = folder / "old.npz"
    np.savez(old, x=x[known], y=y[known])
    heard_x, heard_y = recordings(KNOWN, test=True)
    tests = [(heard_x[rows], heard_y[rows]) for rows in (heard_y < 8, heard_y > 7)]
    sizes = [len(test[1]) for test in tests]

    def learn(made: Path, seed: int, speaker: str) -> list[list[float]]:
        """Of the four old, new and all, then of the other speaker all."""
        mixed, own = shuffled((x, y), seed), shuffled(recordings([speaker], test=False), seed)
        parts = [(mixed[0][:800], mixed[1][:800]), own]
        done = stream(made, parts, [*tests, recordings([speaker], test=True)])
        shares = [[e.accuracy or 0.0 for e in each] for each in done]
        return [[a, b, float(np.average([a, b], weights=sizes)), c] for a, b, c in shares]

    print("| learner | rate | before: old, all | the four: old, new, all | speaker | before him "
          "| after him | the four after that |")  # fmt: skip
    print("|---|--:|--:|--:|---|--:|--:|--:|")
    for name, options in growing(old, "start, 640 old").items():
        made, rate = tuned(folder, SHARED / "models" / "fsdd_dscnn_c8.onnx", options,
                           lambda made: learn(made, TUNING, "theo")[1][2],
                           (0.3, 0.1, *RATES))  # fmt: skip
        for speaker in ("theo", "yweweler"):
            found = np.array([learn(made, seed, speaker) for seed in SEEDS])
            shown = ((0, (0, 2)), (1, (0, 1, 2)), (1, (3,)), (2, (3,)), (2, (2,)))
            cells = [", ".join(percent(found[:, stage, k]) for k in columns)
                     for stage, columns in shown]  # fmt: skip
            cells.insert(2, speaker)
            print(f"| {name} | {rate} | {' | '.join(cells)} |", flush=True)


# Watch


def person(number: int, part: str) -> Samples:
    """Windows of one half of a person's recordings, as `examples/watch/make_data.py` cuts them."""
    if number > 7:
        with np.load(WATCH / f"person{number}_{part}.npz") as data:
            return data["x"].astype(np.float32), data["y"].astype(np.int64)
    sys.path.insert(0, str(WATCH))
    from make_data import windows

    card = json.loads((WATCH / "normalisation.json").read_text())
    mean, std = (np.array(card[key]).reshape(6, 1) for key in ("mean", "std"))
    with np.load(SHARED / "data" / "watch_shoulder_6ch_stream.npz") as data:
        scale, found, labels = data["scale"].reshape(6, 1), [], []
        for recording in np.flatnonzero(data["subject"] == number):
            begin, end = data["rec_start"][recording : recording + 2]
            middle = begin + (end - begin) // 2
            low, high = (begin, middle) if part == "learn" else (middle, end)
            cut = windows(data["signal"][low:high])
            found += cut
            labels += [data["y"][recording]] * len(cut)
    x = ((np.stack(found) * scale - mean) / std).astype(np.float32)
    return x[:, :, None], np.array(labels, np.int64)


def shuffled(samples: Samples, seed: int | None) -> Samples:
    x, y = samples
    order = np.arange(len(y)) if seed is None else np.random.default_rng(seed).permutation(len(y))
    return x[order], y[order]


def watch(folder: Path) -> None:
    """A new person."""
    known = [person(number, "learn") for number in range(1, 8)]
    start = folder / "persons.npz"
    np.savez(
        start, x=np.concatenate([x for x, _ in known]), y=np.concatenate([y for _, y in known])
    )
    old_tests = [person(number, "test") for number in range(1, 8)]
    old = [np.concatenate(part)[::4] for part in zip(*old_tests, strict=True)]
    variants: dict[str, dict[str, Any]] = {
        "online": {"learner": "online"},
        "online --start": {"learner": "online", "start": start},
        "online --start --forgetting .99": {
            "learner": "online",
            "start": start,
            "forgetting": 0.99,
        },
        "rls": {"learner": "rls"},
        "rls --start": {"learner": "rls", "start": start},
    }

    def learn(made: Path, number: int, seed: int | None) -> list[list[float]]:
        tests = [person(number, "test"), (old[0], old[1])]
        parts = [shuffled(person(number, "learn"), seed)]
        return [[e.accuracy or 0.0 for e in each] for each in stream(made, parts, tests)]

    def on_others(made: Path) -> float:
        return float(np.mean([learn(made, n, s)[1][0] for n in (1, 2, 3) for s in (None, TUNING)]))

    print("| learner | rate | person | before | shuffled | as recorded | persons 1-7 after that |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, options in variants.items():
        made, rate = tuned(folder, WATCH / "watch_cnn_c7.onnx", options, on_others)
        for number in (8, 9, 10):
            found = np.array([learn(made, number, seed) for seed in SEEDS])
            ordered = learn(made, number, None)
            print(f"| {name} | {rate} | {number} | {percent([ordered[0][0]])} "
                  f"| {percent(found[:, 1, 0])} | {percent([ordered[1][0]])} "
                  f"| {percent([ordered[1][1]])} |", flush=True)  # fmt: skip


def losses(folder: Path) -> None:
    """A new person, with each loss at each rate."""
    variants: dict[str, dict[str, Any]] = {
        "cross-entropy": {},
        "cross-entropy --activation sigmoid": {"activation": "sigmoid"},
        "one-hot": {"loss": "one-hot"},
        "one-hot --activation sigmoid": {"loss": "one-hot", "activation": "sigmoid"},
    }
    rates = (*sorted(RATES), 0.1, 0.3, 1.0)

    def learn(made: Path, number: int, seed: int) -> float:
        parts = [shuffled(person(number, "learn"), seed)]
        return stream(made, parts, [person(number, "test")])[1][0].accuracy or 0.0

    def cell(**options: Any) -> str:
        made = project(folder, WATCH / "watch_cnn_c7.onnx", learner="online", **options)
        try:
            return percent([learn(made, number, seed) for number in (8, 9, 10) for seed in SEEDS])
        except UserError:
            return "diverges"

    print(f"| loss | {' | '.join(f'{rate:g}' for rate in rates)} |")
    print(f"|---|{'--:|' * len(rates)}")
    for name, options in variants.items():
        cells = [cell(**options, learning_rate=rate).split(" ")[0] for rate in rates]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


# Bearing


def spectra(seed: int | None) -> tuple[Array, Array]:
    """Normalised log spectra, changed as the seed says, and whether there is a fault."""
    card = json.loads((SHARED / "models" / "cwru_ae_64_32_8.json").read_text())["preprocessing"]
    with np.load(SHARED / "data" / "cwru_load0_12k_win256.npz") as data:
        x, fault = data["logspec64"].astype(np.float64), data["is_fault"].astype(np.int64)
    if seed is not None:
        random = np.random.default_rng(seed)
        gain, tilt = random.uniform(0.2, 0.8), random.uniform(-0.5, 0.5)
        x = x + gain + tilt * np.linspace(-1, 1, 64)
    return ((x - card["mean"]) / card["std"]).astype(np.float32), fault


def bearing(folder: Path) -> None:
    """An anomaly, and a machine that changes."""
    x, fault = spectra(None)
    usual, rest = np.flatnonzero(fault == 0)[:190], np.flatnonzero(fault == 0)[190:]
    faulty = np.flatnonzero(fault == 1)[::8]
    normal = folder / "normal.npz"
    np.savez(normal, x=x[usual[142:]])
    options: dict[str, Any] = {"learner": "online", "loss": "reconstruction", "start": normal,
                               "forgetting": 0.98, "learn_flagged": True}  # fmt: skip

    def learn(made: Path, seed: int) -> list[list[float]]:
        changed, _ = spectra(seed)
        random = np.random.default_rng(seed)
        order = np.concatenate([random.permutation(usual) for _ in range(2)])
        tests = [(each[rows], fault[rows]) for each in (x, changed) for rows in (rest, faulty)]
        parts = [(changed[order], np.full(len(order), -1))]
        done = stream(made, parts, tests)
        return [[1 - (e.accuracy or 0.0) if k % 2 == 0 else e.accuracy or 0.0
                 for k, e in enumerate(each)] for each in done]  # fmt: skip

    def score(made: Path) -> float:
        _, _, alarms, detected = learn(made, TUNING)[1]
        return detected - alarms

    print("| what learns | rate | false alarms: as made | changed, before | changed, after "
          "| faults found: as made | changed, before | changed, after |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for update in ("none", "last", "full"):
        model = SHARED / "models" / "cwru_ae_64_32_8.onnx"
        made, rate = tuned(folder, model, {**options, "update": update}, score)
        found = np.array([learn(made, seed) for seed in SEEDS])
        cells = [percent(found[:, stage, k]) for k, stage in
                 ((0, 0), (2, 0), (2, 1), (1, 0), (3, 0), (3, 1))]  # fmt: skip
        what = "the threshold alone" if update == "none" else update
        print(f"| {what} | {'-' if update == 'none' else rate} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the tables asked for, or all."""
    tables = {
        "digits": digits,
        "speech": speech,
        "watch": watch,
        "losses": losses,
        "bearing": bearing,
    }
    for name in sys.argv[1:] or tables:
        print(f"\n## {name}\n", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            tables[name](Path(folder))


if __name__ == "__main__":
    main()
