"""Labels on request: questions, answers, and the threshold that keeps to an error budget."""

from __future__ import annotations

import numpy as np
import pytest

from tests.beside.board import RULES, net, person
from tests.models import WATCH
from tests.ops.test_recursive_least_squares import stream
from tinyodl.compiler import compilation
from tinyodl.device.codes import Flag
from tinyodl.host_run.network import HostNetwork
from tinyodl.learning.beside.query.feature import ASKED, RECORD, thresholds
from tinyodl.targets.boards import load_board


class TestAsking:
    @pytest.mark.parametrize("rule", RULES)
    def test_to_ask_and_then_to_learn_is_to_train(self, tmp_path, rule):
        """The same bits in everything that is kept, and the same loss."""
        options = {"query": "auto", "drift": True, "guard": "5", "rule": rule}
        trained, asked = net(tmp_path / "a", **options), net(tmp_path / "b", **options)
        for x, label in zip(*stream(5, 3, 120), strict=True):
            asked.ask(x)
            assert asked.learn(label) == trained.train(x, int(label))
        ended = trained.state()
        assert {n for n, raw in asked.state().items() if raw != ended[n]} <= {ASKED}
        assert asked.parameter(ASKED)[0] == trained.parameter(ASKED)[0] == 120

    @pytest.mark.parametrize(
        "learner",
        [
            {"learner": "elm", "hidden": 20, "guard": "6"},
            {"learner": "online", "metrics": True, "guard": "6"},
            {"learner": "rls", "max_classes": 9, "guard": "6"},
            {"learner": "transfer", "head": "dense:12,7", "cache": 14, "guard": "6"},
            {"learner": "transfer", "classes": 7, "cache": 14, "cache_memory": "flash"},
        ],
        ids=lambda options: options["learner"],
    )
    def test_so_it_is_with_every_learner(self, tmp_path, learner):
        x, y = person(8, "learn")
        options = {**learner, "query": "auto", "drift": True}
        made = compilation(WATCH, load_board("host"), options)
        ended = []
        for name in ("trained", "asked"):
            board = HostNetwork.of(made.lowered)
            for sample, label in zip(x[:60], y[:60], strict=True):
                if name == "trained":
                    board.train(sample, int(label))
                else:
                    board.ask(sample)
                    board.learn(int(label))
            ended.append(board.state())
        assert {n for n, raw in ended[0].items() if raw != ended[1][n]} <= {ASKED}

    @pytest.mark.parametrize("rule", ["rls", "sgd", "sigmoid"])
    def test_the_margin_is_the_lead_of_the_best_output(self, tmp_path, rule):
        board = net(tmp_path, rule=rule, query="always")
        for x, label in zip(*stream(5, 3, 40), strict=True):
            scores = board.forward(x).reshape(-1).astype(float)
            if rule == "sgd":
                scores = np.exp(scores) / np.exp(scores).sum()
            second, best = np.sort(scores)[-2:]
            assert board.ask(x)[0] == pytest.approx(best - second, abs=1e-5)
            board.learn(label)

    def test_a_threshold_asks_below_it_once_enough_is_trained(self, tmp_path):
        board = net(tmp_path, query="margin:0.4")
        board.set("least_trained", 20)
        wanted = 0
        for x, label in zip(*stream(5, 3, 150), strict=True):
            margin, threshold, flags = board.ask(x)
            assert threshold == np.float32(0.4)
            assert (Flag.UNTRAINED in flags) == (wanted < 20)
            assert (Flag.UNSURE in flags) == (margin < threshold)
            assert (Flag.WANTED in flags) == bool(flags & (Flag.UNTRAINED | Flag.UNSURE))
            if Flag.WANTED in flags:
                wanted += 1
                board.learn(label)
        assert 20 < wanted < 150

    def test_a_question_without_an_answer_changes_no_weight(self, tmp_path):
        board = net(tmp_path, query="auto")
        x, labels = stream(5, 3, 40)
        for sample, label in zip(x, labels, strict=True):
            board.train(sample, int(label))
        before = board.state()
        for sample in x:
            board.ask(sample)
        assert {n for n, raw in board.state().items() if raw != before[n]} <= {ASKED}

    def test_switched_off_it_wants_every_label(self, tmp_path):
        board = net(tmp_path, query="margin:0.1")
        board.set("least_trained", 0)
        board.set("query", 0)
        assert all(Flag.WANTED in board.ask(x)[2] for x in stream(5, 3, 30)[0])


def wilson(m: float, wrong: float, z: float = 1.645) -> float:
    """The upper bound, as in Wilson 1927: the larger root of (p - q)^2 = z^2 q (1 - q) / m."""
    p = wrong / m
    roots = np.roots([1 + z**2 / m, -(2 * p + z**2 / m), p**2])
    return float(max(roots.real))


class TestErrorBudget:
    def run(self, board, x, wrong_at):
        """A stream in which label and prediction differ with the probability of `wrong_at`."""
        rng = np.random.default_rng(0)
        margins, records = [], []
        for sample in x:
            margin, threshold, flags = board.ask(sample)
            label = board.predicted()
            if rng.random() < wrong_at(margin):
                label = (label + 1) % 3
            margins.append((margin, threshold, flags, label == board.predicted()))
            if Flag.WANTED in flags:
                board.learn(label)
            records.append(board.parameter(RECORD))
        return margins, records

    def frozen(self, folder, budget):
        """A board that learns nothing, so that its answers stay what they are."""
        board = net(folder, rule="sgd", query="auto", error_budget=budget)
        board.library.net_set_learning_rate(0.0)
        board.set("least_trained", 0)
        weights = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
        board.write_parameter(board.parameters[0].name, weights)
        return board

    def test_the_threshold_is_the_smallest_whose_bound_keeps_to_the_budget(self, tmp_path):
        board = self.frozen(tmp_path, 0.05)
        x = np.random.default_rng(2).normal(size=(1500, 5)).astype(np.float32)
        found, records = self.run(board, x, lambda margin: 0.4 * (1 - margin) ** 2)
        grid, last = thresholds(probabilities=True), np.zeros((16, 2))
        for (_, threshold, _, _), record in zip(found, records, strict=True):
            bounds = [wilson(m, wrong) if m else 1.0 for m, wrong in last]
            keeping = [t for t, bound in zip(grid, bounds, strict=True) if bound <= 0.05]
            assert threshold == (min(keeping) if keeping else np.inf)
            last = record
        asked = [f for f in found if Flag.WANTED in f[2]]
        for t, (m, wrong) in zip(grid, last, strict=True):
            seen = [right for margin, _, _, right in asked if margin >= t]
            assert (m, wrong) == (len(seen), len(seen) - sum(seen))

    def test_answers_that_nobody_checks_keep_to_it(self, tmp_path):
        board = self.frozen(tmp_path, 0.05)
        shares = []
        for seed in range(12):
            board.library.net_reset()
            board = board if seed else self.frozen(tmp_path / "again", 0.05)
            board.set("least_trained", 0)
            board.library.net_set_learning_rate(0.0)
            weights = np.random.default_rng(seed).normal(size=(3, 5)).astype(np.float32)
            board.write_parameter(board.parameters[0].name, weights)
            x = np.random.default_rng(100 + seed).normal(size=(1500, 5)).astype(np.float32)
            found, _ = self.run(board, x, lambda margin: 0.4 * (1 - margin) ** 2)
            unchecked = [right for _, _, flags, right in found if Flag.WANTED not in flags]
            assert len(unchecked) > 100
            shares.append(1 - np.mean(unchecked))
        assert np.mean(np.array(shares) <= 0.05) >= 0.9

    def test_by_chance_one_in_so_many_is_asked_all_the_same(self, tmp_path):
        board = self.frozen(tmp_path, 0.05)
        board.set("error_budget", 1.0)  # everything is good enough
        board.set("explore", 10)
        x = np.random.default_rng(3).normal(size=(4000, 5)).astype(np.float32)
        flags = [board.ask(sample)[2] for sample in x]
        assert set(flags) == {Flag(0), Flag.WANTED | Flag.CHANCE}
        chosen = np.array([Flag.CHANCE in each for each in flags])
        assert chosen.mean() == pytest.approx(0.1, abs=0.02)
        gaps = np.diff(np.flatnonzero(chosen))
        assert gaps.std() > 5  # no rhythm that a stream could share
