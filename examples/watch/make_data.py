"""Cut the watch example's files out of the recordings: `person{8,9,10}_{learn,test}.npz`.

    python make_data.py watch_shoulder_6ch_stream.npz

The source holds 140 recordings of ten people as one stream of sensor counts: `signal` (T, 6)
int16, `scale` (6,) that turns counts into units, `rec_start` (141,) where each recording begins,
and `y`, `subject` (140,) per recording. Persons 1 to 7 are what `watch_cnn_c7.onnx` was trained on;
persons 8, 9 and 10 are new to it.

Each recording is cut at its middle. Windows of 100 samples (2 s) at step 50 are taken from each
half by itself, so no window crosses the middle and no sample is in both files: the first halves
are for learning, the second halves for testing. Windows stay in the order of the recording.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
PERSONS = (8, 9, 10)
WINDOW = 100  # samples at 50 Hz
STEP = 50
Samples = tuple[NDArray[np.float32], NDArray[np.uint8]]
SIGNIFICANT_BITS = 16


def windows(half: NDArray[np.int16]) -> list[NDArray[np.int16]]:
    """Windows of shape (6, 100) over half a recording of shape (T, 6)."""
    return [half[at : at + WINDOW].T for at in range(0, len(half) - WINDOW + 1, STEP)]


def rounded(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """x to 16 significant bits, half away from zero.

    The sensor has 16 bits, so nothing that it saw is lost (values move by at most about a quarter
    of a count), and the files compress to five sixths of their size.
    """
    dropped = 24 - SIGNIFICANT_BITS
    bits = x.view(np.uint32) + np.uint32(1 << (dropped - 1))
    return (bits & np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)).view(np.float32)


def halves(source: Path, persons: Iterable[int]) -> list[Samples]:
    """Windows (N, 6, 1, 100) and labels of the first halves of recordings, and of the second."""
    stream = np.load(source, allow_pickle=False)
    card = json.loads((HERE / "normalisation.json").read_text())
    mean, std = (np.array(card[key]).reshape(6, 1) for key in ("mean", "std"))
    scale = stream["scale"].reshape(6, 1)
    parts: list[tuple[list[NDArray[np.int16]], list[int]]] = [([], []), ([], [])]
    for recording in np.flatnonzero(np.isin(stream["subject"], list(persons))):
        begin, end = stream["rec_start"][recording : recording + 2]
        middle = begin + (end - begin) // 2
        edges = ((begin, middle), (middle, end))
        for (counts, labels), (low, high) in zip(parts, edges, strict=True):
            found = windows(stream["signal"][low:high])
            counts.extend(found)
            labels.extend([stream["y"][recording]] * len(found))
    made = []
    for counts, labels in parts:
        x = ((np.stack(counts) * scale - mean) / std).astype(np.float32)
        made.append((rounded(x)[:, :, np.newaxis, :], np.array(labels, np.uint8)))
    return made


def cut(source: Path) -> None:
    """Write the six files beside this script."""
    for person in PERSONS:
        for part, (x, y) in zip(("learn", "test"), halves(source, [person]), strict=True):
            path = HERE / f"person{person}_{part}.npz"
            np.savez_compressed(path, x=x, y=y)
            print(f"{path.name}: {len(x)} windows, {path.stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_data.py watch_shoulder_6ch_stream.npz")
    cut(Path(sys.argv[1]))
