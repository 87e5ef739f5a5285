"""The watch model meets persons 8, 9 and 10: one pass of batch-1 SGD on the host build.

The host build computes the same bits as the boards (tests/firmware), in seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import tinyodl
from tinyodl import pio
from tinyodl.targets.boards import load_board

WATCH = Path(__file__).parent.parent / "examples" / "watch"
SEEDS = range(5)
SCHEMES = (("last", 0.02), ("bias", 0.02), ("full", 0.005))


def samples(person: int, half: str) -> tuple[np.ndarray, np.ndarray]:
    """x (N, 6, 1, 100) and y (N,) of one half of a person's recordings."""
    with np.load(WATCH / f"person{person}_{half}.npz") as data:
        return data["x"].astype(np.float32), data["y"].astype(np.int64)


def main() -> None:
    """Print a row for each scheme and person."""
    print("| update | rate | person | before | shuffled, 5 seeds | recorded order |")
    print("|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for update, rate in SCHEMES:
            project = Path(folder) / update
            tinyodl.compile(
                WATCH / "watch_cnn_c7.onnx", "host", project, update=update, learning_rate=rate
            )
            pio.build(project, load_board("host"))
            for person in (8, 9, 10):
                shuffled = [learn(project, person, seed) for seed in SEEDS]
                before, ordered = learn(project, person, None)
                after = np.array([100 * accuracy for _, accuracy in shuffled])
                print(
                    f"| {update} | {rate} | {person} | {100 * before:.1f} "
                    f"| {after.mean():.1f} +/- {after.std(ddof=1):.1f} | {100 * ordered:.1f} |"
                )


def learn(project: Path, person: int, seed: int | None) -> tuple[float, float]:
    """Accuracy on the second halves before and after one pass over the first."""
    (project / "flash.bin").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as run, tinyodl.Session(project, "host") as session:
        summary = session.train(
            *samples(person, "learn"),
            shuffle=seed,
            eval=samples(person, "test"),
            run=Path(run) / "run",
        )
    assert summary.accuracy_before is not None and summary.accuracy_after is not None
    return summary.accuracy_before, summary.accuracy_after


if __name__ == "__main__":
    main()
