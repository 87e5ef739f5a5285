"""Inputs as a sensor gives them are said before anything is learned from them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes import manifest
from tinyodl import Session
from tinyodl.samples import data
from tinyodl.samples.raw_inputs import remark

RANDOM = np.random.default_rng(0)


def of(x):
    project = manifest()
    return remark(data.check(x, np.zeros(len(x), int), project, "day1.npz"), project)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (RANDOM.integers(0, 256, (50, 2)), "day1.npz: x holds whole numbers from 0 to 255; give x"),
        (RANDOM.integers(0, 17, (50, 2)).astype(np.float32), "whole numbers from 0 to 16"),
        (RANDOM.integers(-3000, 3000, (50, 2)).astype(np.int16), "x holds whole numbers from -"),
        (RANDOM.normal(2048, 300.5, (50, 2)), "root mean square 2"),
    ],
)
def test_raw_counts_are_said(x, said):
    assert said in of(x)


@pytest.mark.parametrize(
    "x",
    [
        RANDOM.normal(size=(50, 2)),
        RANDOM.integers(0, 2, (50, 2)),
        RANDOM.integers(-1, 2, (50, 2)),
        RANDOM.integers(0, 17, (50, 2)) / 16,
        RANDOM.normal(0, 20, (50, 2)),
    ],
)
def test_scaled_inputs_are_not(x):
    assert of(x) is None


def test_they_are_said_before_the_first_sample(watch_host, tmp_path):
    said = []
    x, y = np.full((12, 6, 1, 100), 200), np.arange(12) % 7
    for number, tested in enumerate((None, (x, y))):
        with Session(watch_host) as session:
            session.train(
                x, y, eval=tested, run=tmp_path / str(number), source="raw.npz",
                progress=lambda told: said.append((told.stage, told.done, told.note)),
            )  # fmt: skip
        first, *later = said
        assert first[:2] == ("before" if tested else "learning", 0)
        assert first[2].startswith("raw.npz: x holds whole numbers from 200 to 200")
        assert not any(note for _, _, note in later if note and note.startswith("raw.npz: x"))
        said.clear()
