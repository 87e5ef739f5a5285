"""What is held out: whole recordings or long stretches, and never a class without its samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinyodl.errors import DataError
from tinyodl.rehearsal.folds import folds_of

LABELS = arrays(np.int64, st.integers(2, 60), elements=st.integers(0, 4))


def held_once(folds, count: int) -> np.ndarray:
    """How often each sample is held out."""
    return np.bincount(np.concatenate([fold.held for fold in folds]), minlength=count)


class TestAnySamples:
    @given(LABELS, st.data())
    def test_parts_are_apart_and_a_held_class_is_learned(self, y, data):
        groups = data.draw(st.none() | arrays(np.int64, len(y), elements=st.integers(0, 5)))
        try:
            folds = folds_of(y, groups)
        except DataError:
            assert np.unique(y, return_counts=True)[1].max() == 1
            return
        assert held_once(folds, len(y)).max() == 1
        for fold in folds:
            assert not np.intersect1d(fold.held, fold.learned).size
            assert set(y[fold.held]) <= set(y[fold.learned])
            assert (np.diff(fold.held) > 0).all() and (np.diff(fold.learned) > 0).all()

    @given(LABELS)
    def test_every_sample_of_a_class_of_two_is_held_out_once(self, y):
        several = np.bincount(y)[y] > 1
        if several.any():
            assert (held_once(folds_of(y), len(y)) == several).all()


class TestRecordings:
    def test_a_recording_is_held_out_whole(self):
        groups = np.repeat(np.arange(8), 10)
        folds = folds_of(np.tile([0, 1], 40), groups)
        assert len(folds) == 4
        for fold in folds:
            assert not np.intersect1d(groups[fold.held], groups[fold.learned]).size
            assert len(fold.held) == 20

    def test_recordings_of_one_class_each_are_spread(self):
        """Two recordings of each of three classes: never both of one class."""
        groups = np.repeat(np.arange(6), 10)
        folds = folds_of(np.repeat([0, 1, 2], 20), groups, 2)
        assert [len(fold.held) for fold in folds] == [30, 30]
        assert all(len(set(groups[fold.held])) == 3 for fold in folds)

    def test_a_class_of_one_recording_is_cut_into_stretches(self):
        y = np.repeat([0, 1], 40)
        groups = np.where(y == 0, 0, np.arange(80) // 10)
        held = [fold.held for fold in folds_of(y, groups)]
        assert [np.flatnonzero(y[rows] == 0).size for rows in held] == [10] * 4


class TestStretches:
    def test_labels_in_blocks(self):
        """Of each class a quarter in a row; the sample before and the one behind are left out."""
        folds = folds_of(np.repeat([0, 1], 40))
        assert folds[1].held.tolist() == [*range(10, 20), *range(50, 60)]
        assert folds[1].learned.tolist() == [
            *range(9), *range(21, 40), *range(40, 49), *range(61, 80),
        ]  # fmt: skip

    def test_of_few_samples_none_is_left_out(self):
        folds = folds_of(np.repeat([0, 1], 5))
        assert all(len(fold.held) + len(fold.learned) == 10 for fold in folds)

    def test_nothing_can_be_held_out(self):
        with pytest.raises(DataError, match="give at least two of some class"):
            folds_of(np.array([0, 1, 2]))
