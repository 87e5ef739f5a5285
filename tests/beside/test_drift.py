"""Drift by centroids: what is found, and what is kept."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.beside.board import RULES, Watched, net
from tests.frontend.models import model, saved
from tinyodl.device.codes import Flag
from tinyodl.frontend import import_model
from tinyodl.learning.beside.drift.feature import COUNTS, RECENT, SPREAD, TRAINED, WARMUP, WINDOW
from tinyodl.learning.beside.record import Seen
from tinyodl.project.plan import UpdatePlan


class TestDrift:
    def cluster(self, count, seed, moved=0.0):
        rng = np.random.default_rng(seed)
        means = np.eye(3, 5) * 3
        labels = rng.integers(3, size=count)
        x = means[labels] + 0.4 * rng.normal(size=(count, 5)) + moved * np.eye(5)[4]
        return x.astype(np.float32), labels

    @pytest.mark.parametrize("rule", RULES)
    def test_samples_that_move_are_found_and_those_that_stay_are_not(self, tmp_path, rule):
        board = net(tmp_path, rule=rule, drift=True)
        false, delays = 0, []
        for seed in range(5):
            board.library.net_reset()
            found = []
            for moved, count in ((0.0, 400), (1.5, 100)):
                for at, (x, label) in enumerate(
                    zip(*self.cluster(count, seed, moved), strict=True)
                ):
                    board.train(x, int(label))
                    if Flag.DRIFT in board.flags:
                        found.append((moved, at))
            false += sum(not moved for moved, _ in found)
            delays += [at for moved, at in found if moved][:1]
        assert false == 0
        assert len(delays) == 5 and max(delays) < 60

    def test_what_is_kept_is_what_the_formulas_say(self, tmp_path):
        board = net(tmp_path, drift=True)
        trained, recent = np.zeros((3, 5)), np.zeros((3, 5))
        seen, learned = np.zeros(3), np.zeros(3)
        distances = [[], [], []]
        for x, label in zip(*self.cluster(150, 7), strict=True):
            board.train(x, int(label))
            c = board.predicted()
            seen[c] = min(seen[c] + 1, WINDOW)
            recent[c] += (x - recent[c]) / seen[c]
            if learned[label] >= WINDOW and c == label:
                distances[c].append(np.sqrt(np.mean((recent[c] - trained[c]) ** 2)))
            learned[label] += 1
            trained[label] += (x - trained[label]) / learned[label]
        np.testing.assert_allclose(board.parameter(TRAINED), trained, atol=1e-4)
        np.testing.assert_allclose(board.parameter(RECENT), recent, atol=1e-4)
        np.testing.assert_array_equal(board.parameter(COUNTS), [seen, learned])
        spread = [[len(d), np.mean(d), len(d) * np.var(d)] for d in distances]
        np.testing.assert_allclose(board.parameter(SPREAD), np.transpose(spread), rtol=1e-3)

    def test_begun_from_samples_it_knows_where_they_lie(self, tmp_path):
        x, labels = self.cluster(600, 1)
        board = net(tmp_path, drift=True, query="margin:0.0", seen=Seen(x, labels))
        centroids = np.stack([x[labels == c].mean(0) for c in range(3)])
        np.testing.assert_allclose(board.parameter(TRAINED), centroids, rtol=1e-5)
        assert board.parameter(SPREAD)[0].min() > WARMUP
        weights = (centroids * 2).astype(np.float32)
        board.write_parameter(board.parameters[0].name, weights)
        assert not any(Flag.DRIFT in board.ask(s)[2] for s in self.cluster(300, 2)[0])
        flags = [board.ask(s)[2] for s in self.cluster(60, 3, moved=2.0)[0]]
        at = next(i for i, each in enumerate(flags) if Flag.DRIFT in each)
        assert at < 40
        assert all(Flag.UNTRAINED in each for each in flags[at:])  # labels are wanted again

    def test_labels_are_wanted_half_way_to_one(self, tmp_path):
        """While nothing is known of the distances, that is a question of least_trained alone."""
        board = net(tmp_path, drift=True, query="margin:0.0")
        board.set("least_trained", 0)
        found = {True: 0, False: 0}
        for x, label in zip(*self.cluster(600, 3), strict=True):
            _, _, flags = board.ask(x)
            c = board.predicted()
            count, mean, squares = board.parameter(SPREAD)[:, c]
            moved = board.parameter(RECENT)[c] - board.parameter(TRAINED)[c]
            distance = np.sqrt(np.mean(moved.astype(float) ** 2))
            few = 1 + 3 * 0.22  # 5 features, doubled three times
            half = mean + few * 3 * np.sqrt(squares / max(count, 1)) / 2
            if count < WARMUP or abs(distance - half) > 1e-4:
                pending = bool(count >= WARMUP and distance > half)
                assert (Flag.UNTRAINED in flags) == (Flag.WANTED in flags) == pending
                found[pending] += bool(count >= WARMUP)
            board.learn(int(label))
        assert found[True] > 3 and found[False] > 100

    @pytest.mark.parametrize("features", [1, 4])
    def test_few_features_do_not_alarm_by_themselves(self, tmp_path, features):
        board = net(tmp_path, inputs=features, rule="sgd", drift=True)
        board.library.net_set_learning_rate(0.0)  # all are predicted 0
        alarms = 0
        for seed in range(20):
            board.library.net_reset()
            board.library.net_set_learning_rate(0.0)
            rng = np.random.default_rng(700 + seed)
            for x in rng.normal(size=(400, features)).astype(np.float32):
                board.train(x, 0)
                alarms += Flag.DRIFT in board.flags
        assert alarms <= 2

    def test_recursive_least_squares_then_begins_anew(self, tmp_path):
        """P is as fresh; the weights stay."""
        board, fresh = net(tmp_path / "a", drift=True), net(tmp_path / "b")
        p = next(t.name for t in fresh.parameters if "correlation" in t.name)
        for moved, count in ((0.0, 400), (2.0, 100)):
            for x, label in zip(*self.cluster(count, 0, moved), strict=True):
                before = board.parameter("w")
                board.train(x, int(label))
                if Flag.DRIFT in board.flags:
                    fresh.train(x, int(label))
                    assert board.parameter(p).tobytes() == fresh.parameter(p).tobytes()
                    assert np.abs(before).max() > 0.1
                    assert np.abs(board.parameter("w") - before).max() < np.abs(before).max()
                    return
        raise AssertionError("no drift")

    def test_an_autoencoder_has_one_class(self, tmp_path):
        """Unlabelled samples and normal ones are learned, anomalies are not."""
        nodes = [
            helper.make_node("Gemm", ["x", "w1"], ["h"], name="down", transB=1),
            helper.make_node("Gemm", ["h", "w2"], ["y"], name="up", transB=1),
        ]
        given = {"w1": np.eye(4, 5, dtype=np.float32), "w2": np.eye(5, 4, dtype=np.float32)}
        graph = import_model(saved(model(nodes, ["N", 5], given), tmp_path))
        plan = UpdatePlan(layers={"up": "weights"}, loss="reconstruction", drift=True,
                          learn_flagged=True)  # fmt: skip
        board = Watched(graph, plan, tmp_path / "c")
        found, trained, seen = [], np.zeros(4), 0
        for moved, count in ((0.0, 400), (2.0, 60)):
            for at, x in enumerate(self.cluster(count, 0)[0]):
                x[:4] = x[:4] * 0.2 + moved
                label = (-1, 0, 1)[at % 3]
                if label != 1 and not found:
                    seen += 1
                    trained += (x[:4] - trained) / seen
                board.train(x, label)
                if Flag.DRIFT in board.flags:
                    found.append((moved, at))
                    break
            if not moved:
                np.testing.assert_allclose(board.parameter(TRAINED)[0], trained, atol=1e-4)
        assert board.parameter(TRAINED).shape == (1, 4)
        assert [moved for moved, _ in found] == [2.0]

    def test_switched_off_it_finds_nothing(self, tmp_path):
        board = net(tmp_path, drift=True)
        board.set("drift", 0)
        for moved in (0.0, 3.0):
            for x, label in zip(*self.cluster(200, 0, moved), strict=True):
                board.train(x, int(label))
                assert Flag.DRIFT not in board.flags
