"""Accuracy while learning is called no evidence where labels come in blocks, and only there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tinyodl.samples.evidence import evidence


@dataclass(frozen=True)
class Seen:
    label: int | None
    predicted: int | None = None


def of(labels, predicted=None):
    guesses = labels if predicted is None else predicted
    return evidence([Seen(label, guess) for label, guess in zip(labels, guesses, strict=True)])


@pytest.mark.parametrize("classes", [2, 3, 7, 40])
@pytest.mark.parametrize("seed", range(5))
def test_shuffled_labels_are_in_no_blocks_and_sorted_ones_are(classes, seed):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(classes), 25))
    assert not of(labels.tolist()).in_blocks
    assert of(sorted(labels.tolist())).in_blocks


def test_seldom_labels_are_no_blocks():
    random = np.random.default_rng(0)
    labels = (random.random(400) < 0.03).astype(int)
    assert not of(labels.tolist()).in_blocks


def test_who_says_the_last_label_is_right_nowhere_where_it_counts():
    labels = np.repeat([0, 1, 2, 1, 0], 20).tolist()
    found = of(labels, [0, *labels[:-1]])
    assert (found.labelled, found.changes, found.right) == (100, 4, 0)
    assert found.in_blocks and found.at_changes == 0


def test_samples_without_a_label_are_passed_over():
    labels = [0, None, 0, None, 1, None, 1]
    assert of(labels).changes == 1 and of(labels).labelled == 4


@pytest.mark.parametrize("labels", [[], [3], [3] * 50, [None] * 12, list(range(9))])
def test_few_labels_or_one_alone_say_nothing_of_their_order(labels):
    assert not of(labels).in_blocks
    assert of(labels).at_changes == (1.0 if len(set(labels)) > 1 else None)
