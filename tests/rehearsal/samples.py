"""Digits under other names, as a new task for the digits network; and that network under a plan."""

from __future__ import annotations

import numpy as np

from tests.models import ROOT
from tinyodl.compiler import compilation
from tinyodl.planner.lowering import Lowered
from tinyodl.targets.boards import load_board

MODEL = ROOT / "tests" / "models" / "digits_mlp_64_32_10.onnx"
DATA = ROOT / "tests" / "data" / "sklearn_digits_8x8.npz"


def lowered(**options) -> Lowered:
    return compilation(MODEL, load_board("host"), options).lowered


def digits(each: int, skip: int = 0, names=(1, 2, 3, 0)) -> tuple[np.ndarray, np.ndarray]:
    """(4 * each, 64) samples of the digits 0 to 3, one digit after the other, and their labels."""
    with np.load(DATA) as data:
        x, y = data["x"].reshape(-1, 64).astype(np.float32) / 16, data["y"]
    rows = np.concatenate([np.flatnonzero(y == k)[skip : skip + each] for k in range(4)])
    return x[rows], np.array(names)[y[rows]]
