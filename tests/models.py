"""The models that tests use: those the project ships, and those of `shared` where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WATCH = ROOT / "examples" / "watch" / "watch_cnn_c7.onnx"
SHIPPED = [*sorted((ROOT / "tests" / "models").glob("*.onnx")), WATCH]

_SHARED = ROOT.parent / "shared" / "models"
LARGE = sorted(p for p in _SHARED.glob("*.onnx") if "int8" not in p.name)

INT8 = sorted(_SHARED.glob("*_int8.onnx"))

shared_only = pytest.mark.skipif(not LARGE, reason="the larger models are not part of the project")


def name(path: Path) -> str:
    """For pytest's test ids."""
    return path.stem
