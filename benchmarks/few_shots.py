"""Heads of prototypes on Omniglot's Sanskrit, which the network has not seen: 5 ways, few shots.

    .venv/bin/python benchmarks/few_shots.py [prototypes] [onwards] [--model FILE.onnx]

Everything is learned by the generated C, compiled for this computer; boards compute the same bits.
Each of 200 episodes draws 5 characters, K samples of each to learn and 10 to test. Errors are
standard errors over the episodes. Data and models are not part of the project; they are looked
for beside it, in shared/.

prototypes  `--head prototypes:5`, no step and no rate, beside numpy's cosine prototypes in
            float64 on the same episodes: accuracy of both, and how many answers differ.
onwards     40 episodes: the same samples again after the prototypes, by cross-entropy of the head
            or of all layers, or by least squares, and the same from a head of zeros. 20 passes at
            the best of five rates (in brackets), chosen on 15 episodes of Tagalog; of least
            squares, which has no rate, one pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tinyodl.compiler import compilation
from tinyodl.graph import Array
from tinyodl.host_run.network import HostNetwork
from tinyodl.targets.boards import load_board

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
MODEL = SHARED / "models" / "omniglot_embed288.onnx"
WAYS, TESTED = 5, 10
WEIGHT = "head.dense1.weight"
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
PASSES = 20
DENSE = {"head": f"dense:{WAYS}"}


@dataclass(frozen=True)
class Episode:
    """Samples of WAYS classes: those to learn in a drawn order, those to test, and labels 0..4."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def characters(alphabet: str) -> list[Array]:
    """The 20 samples (20, 1, 28, 28) of each character of an alphabet; ink is 1."""
    with np.load(SHARED / "data" / "omniglot_small_28.npz") as data:
        names = [str(name) for name in data["alphabet_names"]]
        rows = data["alphabet"] == names.index(alphabet)
        x, of = data["x"][rows], data["char"][rows]
    x = x.reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255)
    return [x[of == c] for c in np.unique(of)]


def episodes(alphabet: str, shots: int, count: int, seed: int = 0) -> Iterator[Episode]:
    """`count` episodes, the same ones at every call."""
    rng = np.random.default_rng([seed, shots])
    there = characters(alphabet)
    for _ in range(count):
        chosen = rng.choice(len(there), WAYS, replace=False)
        drawn = [there[c][rng.permutation(20)] for c in chosen]
        x = np.concatenate([each[:shots] for each in drawn])
        x_test = np.concatenate([each[shots : shots + TESTED] for each in drawn])
        order = rng.permutation(len(x))
        y, y_test = np.repeat(np.arange(WAYS), shots), np.repeat(np.arange(WAYS), TESTED)
        yield Episode(x[order], y[order], x_test, y_test)


def network(model: Path, options: Mapping[str, Any]) -> HostNetwork:
    """The network in this process; a head that a model has already is replaced."""
    made = compilation(model, load_board("nrf52840_dk"), dict(options))  # type: ignore[arg-type]
    return HostNetwork.of(made.lowered)


def cosines(session: onnxruntime.InferenceSession, episode: Episode) -> Array:
    """The answers of cosine prototypes in float64, on features from onnxruntime."""
    name = session.get_inputs()[0].name

    def features(x: Array) -> Array:
        rows = [session.run(None, {name: each[None]})[0].reshape(-1) for each in x]
        return np.stack(rows).astype(np.float64)

    f, tested = features(episode.x), features(episode.x_test)
    means = np.stack([f[episode.y == c].mean(0) for c in range(WAYS)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    answers: Array = (tested @ means.T).argmax(1)
    return answers


def spread(values: list[float]) -> str:
    """Mean and standard error."""
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.1f}"


def prototypes(model: Path) -> None:
    session = onnxruntime.InferenceSession(model)
    print("| shots | tinyodl | numpy | answers that differ |\n|--:|--:|--:|--:|")
    with network(model, {"head": f"prototypes:{WAYS}"}) as net:
        for shots in (1, 5, 10):
            ours, theirs, other, tested = [], [], 0, 0
            for episode in episodes("Sanskrit", shots, 200):
                net.reset()
                net.train_all(episode.x, episode.y)
                found = net.evaluate_all(episode.x_test, episode.y_test).predicted
                answers = cosines(session, episode)
                ours.append(100 * (found == episode.y_test).mean())
                theirs.append(100 * (answers == episode.y_test).mean())
                other += int((found != answers).sum())
                tested += len(answers)
            row = f"| {shots} | {spread(ours)} | {spread(theirs)} | {other} of {tested:,} |"
            print(row, flush=True)


def learned(
    net: HostNetwork, episode: Episode, begun: str, passes: int, rate: float | None
) -> float:
    """Accuracy after `passes` over the samples; `begun`: from zeros, or after prototypes."""
    net.reset()
    if rate is not None:
        net.learning_rate(rate)
    if begun == "prototypes":
        passes += 1
    else:
        shape = net.parameter(WEIGHT).shape
        net.write_parameter(WEIGHT, np.zeros(shape, np.float32))
    for _ in range(passes):
        net.train_all(episode.x, episode.y)
    found = net.evaluate_all(episode.x_test, episode.y_test).predicted
    return float(100 * (found == episode.y_test).mean())


def best_rate(net: HostNetwork, begun: str, shots: int) -> float:
    """Of RATES, on an alphabet that is not tested."""
    drawn = list(episodes("Tagalog", shots, 15, seed=1))
    return max(RATES, key=lambda r: np.mean([learned(net, e, begun, PASSES, r) for e in drawn]))


def onwards(model: Path) -> None:
    rules: tuple[tuple[str, dict[str, Any]], ...] = (
        ("the head, by cross-entropy", {}),
        ("the head, by least squares", {"learner": "rls"}),
        ("all layers, by cross-entropy", {"update": "full"}),
    )
    print("| learns | begins with | 1 shot | 5 shots | 10 shots |\n|---|---|--:|--:|--:|")
    for name, rule in rules:
        for begun in ("zeros", "prototypes"):
            cells = []
            for shots in (1, 5, 10):
                options = {**rule, "head": f"prototypes:{WAYS}", "shots": shots}
                if begun == "zeros":
                    options = {**rule, **({"max_classes": WAYS} if "learner" in rule else DENSE)}
                with network(model, options) as net:
                    passes, rate = (1, None) if "learner" in rule else (PASSES, 0.0)
                    if rate is not None:
                        rate = best_rate(net, begun, shots)
                    drawn = episodes("Sanskrit", shots, 40)
                    found = [learned(net, e, begun, passes, rate) for e in drawn]
                cells.append(spread(found) + (f" ({rate:g})" if rate else ""))
            print(f"| {name} | {begun} | {' | '.join(cells)} |", flush=True)


TABLES = {"prototypes": prototypes, "onwards": onwards}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*", metavar="prototypes|onwards")
    parser.add_argument("--model", type=Path, default=MODEL)
    chosen = parser.parse_args()
    for table in chosen.tables or TABLES:
        print(f"\n{table}\n")
        TABLES[table](chosen.model)
