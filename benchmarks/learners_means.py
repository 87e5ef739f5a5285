"""Learners without gradients side by side: rls, slda and ncm, in this process, on held-out samples.

    .venv/bin/python benchmarks/learners_means.py [watch] [har] [digits]

One pass in recorded order over the streams of learners.py and learners_online.py; the bits are
those of a board. Accuracy is in %. "While learning" counts each prediction before its sample was
learned: in recorded order that says little, since labels come in blocks. All else is on samples
that are never learned from. Means and standard deviations are over persons, splits or seeds.

watch    persons 8, 9 and 10: first halves learned, second halves tested
har      drift persons 9, 14, 16, 19 and 25, five random splits each, one activity after the other
digits   lenet_mnist_c8: 1,500 digits of all kinds, then 300 of 8 and 9 alone, 5 seeds

"others" is the accuracy on what was known before: persons 1 to 7 of the watch, HAR's other persons,
the digits 0 to 7. Started learners begin with samples of those.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from learners import Samples, Task, har, watch
from learners_online import SHARED, digits_of, mnist

import tinyodl
from tinyodl.compiler import compilation
from tinyodl.host_run.network import HostNetwork
from tinyodl.targets.boards import load_board

LEARNERS: tuple[dict[str, Any], ...] = ({"learner": "rls"}, {"learner": "slda"}, {"learner": "ncm"})


@dataclass(frozen=True)
class Stream:
    """One stream after the other, then tested; `others` is what was known before."""

    parts: tuple[Samples, ...]
    test: Samples
    others: Samples


def of_persons(task: Task) -> Iterator[Stream]:
    """A stream for each person and split."""
    assert task.old is not None
    for splits in task.persons.values():
        for learn, test in splits:
            yield Stream((learn,), test, task.old[1])


def of_digits() -> Iterator[Stream]:
    """1,500 digits, then 8 and 9 alone."""
    y = mnist()["y_test"][:1000]
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(10_000)
        alone = order[1500:][mnist()["y_train"][order[1500:]] > 7][:300]
        parts = (digits_of(order[:1500]), digits_of(alone))
        yield Stream(
            parts, digits_of(np.arange(1000), "test"), digits_of(np.flatnonzero(y < 8), "test")
        )


def accuracy(network: HostNetwork, samples: Samples) -> float:
    """In %, nothing learned."""
    return 100 * float(
        np.mean(network.evaluate_all(samples[0], samples[1]).predicted == samples[1])
    )


def row(model: Path, options: dict[str, Any], streams: list[Stream], name: str) -> str:
    """A row of the table: RAM of the firmware, then means and spreads."""
    ram = tinyodl.plan(model, "nrf52840_dk", **options).ram.total
    made = compilation(model, load_board("host"), options)  # type: ignore[arg-type]
    found = []
    with HostNetwork.of(made.lowered) as network:
        for stream in streams:
            network.reset()
            cells = []
            for x, y in stream.parts:
                online = 100 * float(np.mean(network.train_all(x, y).predicted == y))
                cells += [online, accuracy(network, stream.test), accuracy(network, stream.others)]
            found.append(cells)
    columns = np.array(found).T
    spread = [f"{each.mean():.1f} +/- {each.std(ddof=1):.1f}" for each in columns]
    return f"| {name} | {ram:,} | {' | '.join(spread)} |"


def table(title: str, model: Path, old: Samples, streams: list[Stream], **more: Any) -> None:
    """Print a row for each learner, from zero and started."""
    stages = " | ".join(["while learning | held out | others"] * len(streams[0].parts))
    print(f"\n{title}\n\n| learner | RAM, B | {stages} |")
    print("|---|--:" + "|--:" * (3 * len(streams[0].parts)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "old.npz"
        np.savez(start, x=old[0], y=old[1])
        for options in LEARNERS:
            print(row(model, {**options, **more}, streams, options["learner"]), flush=True)
            started = {**options, **more, "start": start}
            print(row(model, started, streams, f"{options['learner']}, started"), flush=True)


def main() -> None:
    """Print the tables that were asked for, or all."""
    for name in sys.argv[1:] or ("watch", "har", "digits"):
        if name == "digits":
            old = digits_of(np.flatnonzero(mnist()["y_train"] < 8)[:1000])
            model = SHARED / "models" / "lenet_mnist_c8.onnx"
            table(name, model, old, list(of_digits()), max_classes=10)
            continue
        task = {"watch": watch, "har": har}[name]()
        if task.old is None:
            print(f"{name}: the others' recordings are not here")
            continue
        table(name, task.model, task.old[0], list(of_persons(task)))


if __name__ == "__main__":
    main()
