"""Questions, drift and the guard where outputs stand for labels as they come."""

from __future__ import annotations

import numpy as np
import pytest

from tests.beside.board import net
from tests.ops.test_recursive_least_squares import stream
from tinyodl.learning.state_names import LABELS


class TestLabelsAsTheyCome:
    @pytest.mark.parametrize("rule", ["rls", "sgd"])
    def test_where_all_are_known_it_is_as_without(self, tmp_path, rule):
        """The same margins, questions and bits."""
        options = {"rule": rule, "query": "auto", "drift": True, "guard": "5"}
        plain, free = (
            net(tmp_path / "a", **options),
            net(tmp_path / "b", **options, labels=(0, 1, 2)),
        )
        for x, label in zip(*stream(5, 3, 120), strict=True):
            assert free.ask(x) == plain.ask(x)
            assert free.learn(label) == plain.learn(label)
        free_state = free.state()
        assert {n for n, raw in plain.state().items() if raw != free_state[n]} == set()

    @pytest.mark.parametrize("rule", ["rls", "sgd"])
    def test_only_outputs_with_a_label_take_part(self, tmp_path, rule):
        options = {"query": "always", "drift": True, "guard": "5"}
        board = net(tmp_path, rule=rule, labels=(), **options)
        board.set("drift_z", 0)
        named, known = [70, 50, 60], []
        for x, label in zip(*stream(5, 3, 60), strict=True):
            scores = board.forward(x).reshape(-1)[: len(known)].astype(float)
            margin = board.ask(x)[0]
            if len(known) < 2:
                assert margin == 0
            else:
                if rule == "sgd":
                    scores = np.exp(scores) / np.exp(scores).sum()
                second, best = np.sort(scores)[-2:]
                assert margin == pytest.approx(best - second, abs=1e-5)
            assert board.predicted() == (known[scores.argmax()] if known else -1)
            board.learn(named[label])
            known += [] if named[label] in known else [named[label]]
        assert board.parameter(LABELS).tolist() == known
        assert sorted(known) == [50, 60, 70]
