"""Outliers from the command line: named while the run goes on, counted at its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.cli.conftest import Run
from tests.models import ROOT

MODEL = ROOT / "tests" / "models" / "digits_mlp_64_32_10.onnx"


def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(ROOT / "tests" / "data" / "sklearn_digits_8x8.npz") as data:
        return (data["x"].reshape(-1, 64)[:60] / 16).astype(np.float32), data["y"][:60]


def test_a_stream_with_a_bad_sample(tinyodl: Run, tmp_path: Path) -> None:
    project, run = tmp_path / "project", tmp_path / "run"
    unbound = ("--bound", "off")  # so that it is the gate that keeps the network from harm
    assert tinyodl("compile", MODEL, "--board", "host", "-o", project, *unbound).code == 0
    assert tinyodl("flash", project, "--port", "host").code == 0
    x, y = digits()
    x[20, 7] = -9999
    np.savez(tmp_path / "bad.npz", x=x, y=y)
    stream = ("stream-train", project, "--port", "host", "--data", tmp_path / "bad.npz")
    done = tinyodl(*stream, "--run", run)
    assert done.code == 0
    named = " ".join(done.err.split())
    assert (
        f"sample 20 of {tmp_path / 'bad.npz'}: value -9999 at 7, and those before reach 1: it"
        in (named)
    )
    assert "1 of 60 samples" in " ".join(done.out.split())
    assert "1 of 60 samples" in (run / "report.html").read_text()

    np.savez(tmp_path / "pixels.npz", x=255 * x[:19], y=y[:19])
    done = tinyodl(*stream[:-1], tmp_path / "pixels.npz")
    assert done.code == 2
    assert "these samples do not look like those before" in " ".join(done.err.split())

    kept = tinyodl(*stream, "--keep-outliers", "--reset")
    assert kept.code == 1 and "did harm" in kept.out
    assert "learned too (--keep-outliers)" in kept.out and "outliers," not in kept.out


def test_a_plan_that_keeps_outliers(tinyodl: Run, tmp_path: Path) -> None:
    project = tmp_path / "project"
    done = tinyodl("compile", MODEL, "--board", "host", "-o", project, "--keep-outliers")
    assert done.code == 0 and "learns from outliers too" in done.out
    assert 'outliers = "keep"' in (project / "plan.toml").read_text()
    again = ("--update", project / "plan.toml")
    assert "learns from outliers too" in tinyodl("plan", MODEL, "--board", "host", *again).out
    assert tinyodl("plan", MODEL, "--board", "host", *again, "--keep-outliers").code == 2
