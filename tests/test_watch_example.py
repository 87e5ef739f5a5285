"""The shipped example is what its README says it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.projects import WATCH

STREAM = WATCH.parent.parent.parent / "shared" / "data" / "watch_shoulder_6ch_stream.npz"


@pytest.mark.parametrize(
    ("person", "count", "before"), [(8, 229, 0.838), (9, 230, 0.861), (10, 248, 0.839)]
)
def test_counts_and_accuracies_before_learning(person: int, count: int, before: float) -> None:
    model = onnxruntime.InferenceSession(WATCH / "watch_cnn_c7.onnx")
    learn, test = (
        np.load(WATCH / f"person{person}_{part}.npz", allow_pickle=False)
        for part in ("learn", "test")
    )
    for file in (learn, test):
        assert file["x"].shape == (count, 6, 1, 100) and file["x"].dtype == np.float32
        assert file["y"].shape == (count,)
    hits = [
        model.run(None, {"input": x[np.newaxis]})[0].argmax() == y
        for x, y in zip(test["x"], test["y"], strict=True)
    ]
    assert np.mean(hits) == pytest.approx(before, abs=0.0005)
    whole = {window.tobytes() for window in learn["x"]}
    assert not whole & {window.tobytes() for window in test["x"]}


def test_the_example_is_small() -> None:
    assert sum(path.stat().st_size for path in WATCH.iterdir() if path.is_file()) < 1_600_000


@pytest.mark.skipif(not STREAM.is_file(), reason="the recordings are not part of the project")
def test_the_files_come_from_the_recordings_bit_for_bit(tmp_path: Path) -> None:
    for name in ("make_data.py", "normalisation.json"):
        shutil.copy(WATCH / name, tmp_path)
    subprocess.run([sys.executable, tmp_path / "make_data.py", STREAM], check=True)
    made = sorted(tmp_path.glob("*.npz"))
    assert len(made) == 6
    for path in made:
        ours, shipped = np.load(path), np.load(WATCH / path.name)
        assert all(np.array_equal(ours[key], shipped[key]) for key in ("x", "y"))
