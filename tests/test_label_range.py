"""lib/net without the server before it: a label that net_takes() refuses does nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.beside.board import net

SAMPLE = np.arange(5, dtype=np.float32) / 5
WAYS: dict[str, dict[str, object]] = {
    "class labels": {"rule": "sgd"},
    "one-hot, rls": {"rule": "rls"},
    "sigmoid": {"rule": "sigmoid"},
    "in batches": {"rule": "adam in batches"},
    "labels on request": {"rule": "sgd", "query": "auto"},
    "labels as they come": {"rule": "rls", "unlabelled": True, "labels": (7, 8, 9)},
    "a guard": {"rule": "sgd", "guard": "4", "unlabelled": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_label_out_of_range_changes_nothing_and_says_nan(tmp_path, way):
    board = net(tmp_path, **WAYS[way])
    refused = [label for label in (-(2**31), -2, -1, 2, 3, 2**31 - 1) if not takes(board, label)]
    assert {-(2**31), -2, 3 if "labels" not in WAYS[way] else 2} <= {*refused}
    board.train(SAMPLE, 7 if "labels" in WAYS[way] else 0)
    before = board.state()
    for label in refused:
        assert math.isnan(board.train(SAMPLE, label))
        assert math.isnan(board.evaluate(SAMPLE, label))
        if "query" in WAYS[way]:
            board.ask(SAMPLE)
            before |= {name: board.state()[name] for name in watched(before)}
            assert math.isnan(board.learn(label))
        assert board.state() == before


def takes(board, label):
    return bool(board.library.net_takes(label, 1))


def watched(state):
    """What ASK itself counts."""
    return [name for name in state if name.startswith("<")]
