"""What a board computes beside learning: labels on request, drift, the guard, and settings."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import tinyodl
from tests.frontend.models import model, node, saved
from tests.hostnet import HostNet, _Buffer, build
from tests.models import WATCH
from tests.ops.test_recursive_least_squares import LAYER, dense, stream
from tinyodl import runlog
from tinyodl.boards import load_board
from tinyodl.compiler import compilation
from tinyodl.device.client import Client
from tinyodl.device.protocol import Command, Draw, Flag, RefusedError, Status, label_body
from tinyodl.errors import DataError, UserError
from tinyodl.feature_cache import CACHED_LABELS
from tinyodl.frontend import import_model
from tinyodl.kept import LABELS
from tinyodl.resources import EXAMPLES
from tinyodl.stream import Session
from tinyodl.update_plan import UpdatePlan, dump_plan, load_plan
from tinyodl.watching import (
    ASKED,
    BEST,
    COUNTS,
    GUARD_SLOTS,
    MEMORY,
    MEMORY_SCALES,
    RECENT,
    RECORD,
    SPREAD,
    TRAINED,
    WARMUP,
    WINDOW,
    Seen,
    settings_of,
    thresholds,
    watched,
)

RULES = {
    "rls": {"optimizer": "rls", "loss": "one-hot"},
    "sgd": {"learning_rate": 0.05},
    "adam in batches": {"optimizer": "adam", "batch": 4},
    "sigmoid": {"loss": "binary-cross-entropy", "learning_rate": 0.2},
}


class Watched(HostNet):
    """A network with what a plan lets it compute beside learning."""

    def __init__(self, graph, plan: UpdatePlan, folder: Path, seen: Seen | None = None) -> None:
        self.settings = [setting.name for setting in settings_of(plan)]
        super().__init__(graph, plan, folder, passes=[lambda g: watched(g, plan, seen)])
        for name in ("net_ask", "net_learn"):
            if plan.query:
                getattr(self.library, name).restype = ctypes.c_float

    @property
    def flags(self) -> Flag:
        return Flag(self.library.net_flags())

    def ask(self, x) -> tuple[float, float, Flag]:
        """(margin, threshold, flags)"""
        self._write_sample(x)
        above = ctypes.c_float()
        margin = self.library.net_ask(ctypes.byref(above))
        return margin, above.value, self.flags

    def learn(self, label: int) -> float:
        return self.library.net_learn(int(label))

    def set(self, name: str, value: float) -> None:
        held = (ctypes.c_float * len(self.settings)).in_dll(self.library, "net_settings")
        held[self.settings.index(name)] = value

    def state(self) -> dict[str, bytes]:
        return {t.name: self.parameter(t.name).tobytes() for t in self.parameters}


def net(folder, inputs=5, outputs=3, seen=None, rule="rls", **options) -> Watched:
    plan = UpdatePlan(layers={LAYER: "weights"}, **{**RULES[rule], **options})
    folder.mkdir(exist_ok=True)
    after = "Sigmoid" if rule == "sigmoid" else "Identity"
    return Watched(dense(folder, inputs, outputs, after=after), plan, folder / "net", seen)


def person(number, part):
    with np.load(EXAMPLES / "watch" / f"person{number}_{part}.npz") as data:
        return data["x"].astype(np.float32), data["y"].astype(int)


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
            library = build(made.network, tmp_path / name)
            library.net_reset()
            for sample, label in zip(x[:60], y[:60], strict=True):
                library.net_receive(0, 0, sample.tobytes(), sample.nbytes)
                if name == "trained":
                    library.net_train(int(label))
                else:
                    library.net_ask(ctypes.byref(ctypes.c_float()))
                    library.net_learn(int(label))
            places = (_Buffer * len(made.manifest.parameters)).in_dll(library, "net_parameters")
            ended.append(
                {
                    record.name: ctypes.string_at(place.data, place.bytes)
                    for record, place in zip(made.manifest.parameters, places, strict=True)
                }
            )
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
        place = board._buffer("net_parameters", 0)
        ctypes.memmove(place.data, weights.tobytes(), place.bytes)
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
            place = board._buffer("net_parameters", 0)
            ctypes.memmove(place.data, weights.tobytes(), place.bytes)
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
            board.set("drift_z", 5)
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
        place = board._buffer("net_parameters", 0)
        ctypes.memmove(place.data, weights.tobytes(), place.bytes)
        board.set("drift_z", 5)
        assert not any(Flag.DRIFT in board.ask(s)[2] for s in self.cluster(300, 2)[0])
        flags = [board.ask(s)[2] for s in self.cluster(60, 3, moved=2.0)[0]]
        at = next(i for i, each in enumerate(flags) if Flag.DRIFT in each)
        assert at < 40
        assert all(Flag.UNTRAINED in each for each in flags[at:])  # labels are wanted again

    def test_recursive_least_squares_then_begins_anew(self, tmp_path):
        """P is as fresh; the weights stay."""
        board, fresh = net(tmp_path / "a", drift=True), net(tmp_path / "b")
        board.set("drift_z", 5)
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
        plan = UpdatePlan(layers={"up": "weights"}, loss="reconstruction", drift=True)
        board = Watched(graph, plan, tmp_path / "c")
        board.set("drift_z", 5)
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


class TestGuard:
    def accuracy(self, board, x, labels):
        right = 0
        for sample, label in zip(x, labels, strict=True):
            board.forward(sample)
            right += board.predicted() == label
        return right / len(labels)

    @pytest.mark.parametrize("rule", RULES)
    def test_what_is_held_back_is_kept_and_not_learned(self, tmp_path, rule):
        x, labels = stream(5, 3, 60)
        board, plain = net(tmp_path / "a", rule=rule, guard="4:1"), net(tmp_path / "b", rule=rule)
        held = {c: [] for c in range(3)}
        for at, (sample, label) in enumerate(zip(x, labels, strict=True), start=1):
            board.train(sample, int(label))
            assert (Flag.HELD_BACK in board.flags) == (at % 4 == 0)
            if at % 4 == 0:
                held[label].append(sample)
            else:
                plain.train(sample, int(label))
        memory = board.parameter(MEMORY)
        scales = board.parameter(MEMORY_SCALES)
        for c, samples in held.items():
            last = samples[-GUARD_SLOTS:]
            expected = [(np.round(s / (abs(s).max() / 127)), abs(s).max() / 127) for s in last]
            order = np.argsort(scales[c][: len(last)])
            for place, (q, scale) in zip(order, sorted(expected, key=lambda e: e[1]), strict=True):
                np.testing.assert_array_equal(memory[c][place], q.ravel())
                assert scales[c][place] == pytest.approx(scale, rel=1e-6)
        for name in ("w", "b"):
            np.testing.assert_array_equal(board.parameter(name), plain.parameter(name))

    @pytest.mark.parametrize("rule", RULES)
    def test_a_stream_of_wrong_labels_is_undone(self, tmp_path, rule):
        x, labels = stream(5, 3, 400)
        board = net(tmp_path, rule=rule, guard="4:0.05")
        for sample, label in zip(x[:200], labels[:200], strict=True):
            board.train(sample, int(label))
        good = self.accuracy(board, x[200:], labels[200:])
        board.set("guard_every", 65536)  # no further tests: the first ones were true
        for sample, label in zip(x[:150], labels[:150], strict=True):
            board.train(sample, int(label + 1) % 3)
        assert self.accuracy(board, x[200:], labels[200:]) < good - 0.2
        board.library.net_settle()
        assert Flag.RETURNED in board.flags
        assert self.accuracy(board, x[200:], labels[200:]) > good - 0.1
        best = board.parameter(BEST).tobytes()
        assert board.parameter("w").tobytes() == best[: 4 * 15]

    def test_in_recorded_order_it_keeps_what_sgd_forgets(self, tmp_path):
        """Person 8 of the watch: 83.8 % before, 69.9 % without the guard."""
        after = {}
        for guard in (None, "4"):
            options = {"guard": guard} if guard else {}
            folder = tmp_path / str(guard)
            tinyodl.compile(WATCH, "host", folder, learning_rate=0.02, **options)
            tinyodl.flash(folder, port="host")
            with Session(folder, port="host") as session:
                summary = session.train(
                    *person(8, "learn"), eval=person(8, "test"), run=tmp_path / f"run{guard}"
                )
            after[guard] = summary.accuracy_after
            assert summary.accuracy_before == pytest.approx(0.838, abs=0.001)
        assert after[None] < 0.71
        assert after["4"] > 0.83
        assert summary.held_back == 229 // 4
        assert any(event.name == "returned" for event in summary.events)
        assert runlog.read(tmp_path / "run4").record.settled is None

    @pytest.mark.parametrize("rule", RULES)
    def test_with_the_best_in_flash_it_does_the_same(self, tmp_path, rule):
        """The same bits, of a stream with stretches of wrong labels, after a start too."""
        x, labels = stream(5, 3, 240)
        labels[80:120] = (labels[80:120] + 1) % 3
        labels[160:200] = (labels[160:200] + 2) % 3
        names = ("ram", "flash")
        ram, flash = (net(tmp_path / n, rule=rule, guard="4:0.05", guard_memory=n) for n in names)
        seen = Flag(0)
        for sample, label in zip(x, labels, strict=True):
            assert ram.train(sample, int(label)) == flash.train(sample, int(label))
            assert ram.flags == flash.flags
            seen |= ram.flags
        assert seen & Flag.KEPT and seen & Flag.RETURNED
        for name, raw in flash.state().items():
            assert raw == ram.state()[name]
        best = (ctypes.c_uint8 * (16 + ram.parameter(BEST).nbytes)).in_dll(flash.library, "best")
        assert bytes(best)[16:] == ram.parameter(BEST).tobytes()

    def test_flash_that_takes_nothing_is_no_copy(self, tmp_path):
        """The step says so, and what was compiled is the best."""
        x, labels = stream(5, 3, 100)
        board = net(tmp_path, rule="sgd", guard="4:0.05", guard_memory="flash")
        ctypes.c_uint32.in_dll(board.library, "flash_left").value = 3
        compiled = board.parameter("w")
        for sample, label in zip(x, labels, strict=True):
            board.train(sample, int(label))
            assert bool(board.library.net_kept()) == (Flag.KEPT not in board.flags)
            if Flag.KEPT in board.flags:
                break
        else:
            raise AssertionError("nothing was better")
        for sample, label in zip(x, labels, strict=True):
            board.train(sample, int(label + 1) % 3)
            if Flag.RETURNED in board.flags:
                np.testing.assert_array_equal(board.parameter("w"), compiled)

    def test_it_holds_back_more_than_one_sample_in_two(self):
        with pytest.raises(UserError, match="give at least 2"):
            tinyodl.plan(WATCH, "host", guard="1")


class TestGuardOfSeveralLayers:
    """Samples are held back as the first layer that changes reads them, and tested from there."""

    def board(self, folder, **rule):
        nodes = [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="hidden", transB=1),
            node("Relu", ["h"], "r"),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name=LAYER, transB=1),
        ]
        rng = np.random.default_rng(0)
        shapes = {"w1": (8, 5), "b1": (8,), "w2": (3, 8), "b2": (3,)}
        given = {name: rng.normal(size=s).astype(np.float32) / 2 for name, s in shapes.items()}
        graph = import_model(saved(model(nodes, ["N", 5], given), folder))
        every = {"hidden": "weights", LAYER: "weights"}
        plan = UpdatePlan(layers=every, **{"learning_rate": 0.05, "guard": "4:0.05", **rule})
        return Watched(graph, plan, folder / "c")

    def right(self, weights, held):
        """How many of the held-back samples a network with these weights tells right."""
        w1, b1, w2, b2 = weights
        return sum(
            int((w2 @ np.maximum(w1 @ x + b1, 0) + b2).argmax() == c)
            for c, samples in held.items()
            for x in samples[-GUARD_SLOTS:]
        )

    def weights(self, board):
        return [board.parameter(name) for name in ("w1", "b1", "w2", "b2")]

    @pytest.mark.parametrize("rule", [{}, {"optimizer": "adam", "batch": 3}], ids=["sgd", "adam"])
    def test_it_keeps_the_best_and_goes_back_to_them(self, tmp_path, rule):
        """Half of the stream has wrong labels; what the guard does is what numpy says it should."""
        board = self.board(tmp_path, **rule)
        x, labels = stream(5, 3, 300)
        labels[150:] = (labels[150:] + 1) % 3
        labels[153::4] = (labels[153::4] + 2) % 3  # held back: those stay true
        held, compiled = {c: [] for c in range(3)}, self.weights(board)
        best = compiled
        happened = Flag(0)
        for at, (sample, label) in enumerate(zip(x, labels, strict=True), start=1):
            now = self.weights(board)
            scores = board.forward(sample).reshape(-1).astype(float)
            loss = np.log(np.exp(scores).sum()) - scores[label]
            assert board.train(sample, int(label)) == pytest.approx(loss, rel=1e-4, abs=1e-6)
            assert board.predicted() == scores.argmax()
            if at % 4:
                continue
            scale = abs(sample).max() / 127
            held[int(label)].append(np.round(sample.ravel() / scale) * scale)
            there = sum(len(samples[-GUARD_SLOTS:]) for samples in held.values())
            n, k, c = (self.right(weights, held) for weights in (now, best, compiled))
            did = Flag.HELD_BACK
            if n > k and n > c:
                best, did = now, did | Flag.KEPT
            elif n > k or k - n > 0.05 * there:  # one of the two copies may be the compiled one
                best = best if k >= n and k >= c else compiled
                if max(k, c) - n > 0.05 * there:
                    now, did = best, did | Flag.RETURNED
            assert board.flags == did
            for there_now, expected in zip(self.weights(board), now, strict=True):
                np.testing.assert_array_equal(there_now, expected)
            happened |= did
        assert happened == Flag.HELD_BACK | Flag.KEPT | Flag.RETURNED

    @pytest.mark.parametrize(
        "options",
        [
            {"learner": "online"},
            {"learner": "online", "max_classes": 9, "metrics": True},
            {"learner": "transfer", "head": "dense:12,7"},
            {"update": "full"},
        ],
        ids=["statistics", "labels as they come", "cache", "from the input on"],
    )
    def test_wrong_labels_are_undone_with_every_learner(self, tmp_path, options):
        x, y = person(8, "learn")
        order = np.random.default_rng(0).permutation(len(x))
        tinyodl.compile(WATCH, "host", tmp_path / "p", **options, guard="4")
        tinyodl.flash(tmp_path / "p", port="host")
        with Session(tmp_path / "p", port="host") as session:
            for index in order:
                session.client.train(x[index], int(y[index]))
            good = session.evaluate(*person(8, "test"))
            session.client.setting("guard_every", 65536)
            for index in order[:120]:
                session.client.train(x[index], int(y[index] + 1) % 7)
            spoiled = session.evaluate(*person(8, "test"))
            assert Flag.RETURNED in session.client.settle()
            undone = session.evaluate(*person(8, "test"))
        assert spoiled.accuracy < good.accuracy - 0.1
        assert undone.accuracy > good.accuracy - 0.1

    def test_its_copy_is_in_ram(self):
        with pytest.raises(UserError, match="for one layer that learns, the last"):
            tinyodl.plan(WATCH, "host", learner="online", guard="4", guard_memory="flash")

    def test_what_a_cache_made_worse_is_undone_at_once(self, tmp_path):
        x, y = person(8, "learn")
        options = {"learner": "transfer", "head": "dense:12,7", "cache": 28, "guard": "4"}
        tinyodl.compile(WATCH, "host", tmp_path / "p", **options)
        tinyodl.flash(tmp_path / "p", port="host")
        with Session(tmp_path / "p", port="host") as session:
            for index in np.random.default_rng(0).permutation(len(x)):
                session.client.train(x[index], int(y[index]))
            session.client.settle()
            good = session.client.read_parameter(0)
            labels = session.client.read_parameter(index_of(session, CACHED_LABELS))
            session.client.write_parameter(index_of(session, CACHED_LABELS), (labels + 1) % 7)
            assert Flag.RETURNED in session.client.replay(60, Draw.BALANCED).flags
            np.testing.assert_array_equal(session.client.read_parameter(0), good)


def index_of(session, name):
    return [record.name for record in session.manifest.parameters].index(name)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watching") / "p"
    options = {"query": "auto", "error_budget": 0.05, "drift": True, "guard": "8"}
    tinyodl.compile(WATCH, "host", folder, learner="rls", **options)
    tinyodl.flash(folder, port="host")
    return folder


@pytest.fixture
def session(project):
    with Session(project, port="host") as opened:
        opened.reset()
        yield opened


def refusal(client: Client, command: Command, body: bytes = b"") -> Status:
    with pytest.raises(RefusedError) as error:
        client._request(command, body)
    return error.value.status


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


class TestOverTheLine:
    def test_a_question_and_its_answer(self, session):
        x, y = person(8, "learn")
        asked = session.client.ask(x[0])
        assert asked.wanted and asked.threshold == np.inf and asked.cycles_forward > 0
        reply = session.client.learn(int(y[0]))
        assert reply.predicted == asked.predicted and reply.cycles_backward >= 0
        assert session.client.hello().steps == 1

    def test_an_answer_needs_its_question(self, session):
        x, _ = person(8, "learn")
        client = session.client
        learn = (client, Command.LEARN, label_body(1))
        assert refusal(*learn) is Status.INCOMPLETE
        client.ask(x[0])
        assert refusal(client, Command.LEARN, label_body(7)) is Status.RANGE
        client.learn(1)
        assert refusal(*learn) is Status.INCOMPLETE  # once
        for between in (
            lambda: client.upload(x[1]),
            lambda: client.train(x[1], 1),
            lambda: client.infer(x[1]),
            client.flush,
            client.reset,
            client.hello,
            lambda: client.write_parameter(0, client.read_parameter(0)),
        ):
            client.ask(x[0])
            between()
            assert refusal(*learn) is Status.INCOMPLETE
        client.ask(x[0])
        client.statistics()
        client.setting("explore", 20)
        client.learning_rate()
        client.learn(1)

    def test_settings_have_ranges_and_last_until_the_reset(self, session):
        client = session.client
        for record in session.manifest.settings:
            assert client.setting(record.name) == np.float32(record.default)
            for value in (record.least, record.most):
                assert client.setting(record.name, value) == np.float32(value)
            for value in (record.least - 1, record.most * 2 + 1, np.inf, np.nan):
                with pytest.raises(DataError, match="give a number from"):
                    client.setting(record.name, value)
        body = b"\x02\0\0\0" + np.float32(np.nan).tobytes()
        assert refusal(client, Command.SETTING, body) is Status.RANGE
        assert refusal(client, Command.SETTING, b"\x63\0\0\0") is Status.RANGE
        assert refusal(client, Command.SETTING, b"\0\0\0\0\0\0") is Status.LENGTH
        assert client.setting("guard_margin") == 1
        client.reset()
        assert client.setting("guard_margin") == np.float32(0.1)

    def test_a_run_logs_questions_bytes_and_events(self, session, tmp_path):
        x, y = person(8, "learn")
        summary = session.train(
            x, y, query=True, settings={"least_trained": 10}, run=tmp_path / "run"
        )
        assert summary.asked is not None and summary.answered == summary.asked < len(y)
        run = runlog.read(tmp_path / "run")
        assert run.record.settings == {"least_trained": 10}
        assert run.record.query is not None and run.record.query.answered_by == "the data"
        learned = [step for step in run.steps if step.learned]
        assert len(learned) == summary.asked and all(step.loss is not None for step in learned)
        to, back = run.record.query.labels
        assert (to, back) == (14 * summary.asked, 34 * summary.asked)
        assert run.record.query.samples[0] > x.nbytes // len(x) * len(y)
        assert session.client.hello().steps == summary.asked - summary.held_back

    def test_a_host_that_never_answers_teaches_nothing(self, session, tmp_path):
        x, y = person(8, "learn")
        before = session.client.read_parameter(0)
        summary = session.train(x, y, limit=30, query=True, silent=True, run=tmp_path / "run")
        assert (summary.samples, summary.asked, summary.answered) == (30, 30, 0)
        assert summary.query is not None and summary.query.labels == (0, 0)
        np.testing.assert_array_equal(session.client.read_parameter(0), before)

    def test_a_teacher_answers_in_the_place_of_the_labels(self, session, tmp_path):
        x, y = person(8, "learn")
        run = tmp_path / "run"
        summary = session.train(x, y, limit=40, query=True, teacher=WATCH, run=run)
        assert summary.query is not None and summary.query.answered_by == WATCH.name
        import onnxruntime

        runtime = onnxruntime.InferenceSession(WATCH)
        name = runtime.get_inputs()[0].name
        for step in runlog.read(run).steps:
            [scores] = runtime.run(None, {name: x[step.sample][None]})
            assert step.answer == scores.argmax()

    def test_mistakes(self, session, tmp_path):
        x, y = person(8, "learn")

        def error(message, kind=UserError, **options):
            with pytest.raises(kind, match=message):
                session.train(x, y, run=tmp_path / "run", **options)

        from tests.frontend.models import weights

        small = saved(
            model([node("Gemm", ["x", "w"], "y")], ["N", 4], {"w": weights(4, 3)}), tmp_path
        )
        wide = replace_classes(tmp_path)
        error("the samples of this project", query=True, teacher=small)
        error("the teacher knows 3 classes, the board 7", query=True, teacher=wide)
        error("give --query", teacher=WATCH)
        error("give one of them", query=True, teacher=WATCH, silent=True)
        error("no setting 'nope'; it has query", DataError, settings={"nope": 1})
        error("explore = 0", DataError, settings={"explore": 0})
        assert not (tmp_path / "run").exists()


def replace_classes(folder: Path) -> Path:
    """A network on the watch's samples that knows three classes."""
    from tests.frontend.models import node, weights

    nodes = [node("Flatten", ["x"], "f"), node("Gemm", ["f", "w"], "y")]
    made = model(nodes, ["N", 6, 1, 100], {"w": weights(600, 3)})
    path = folder / "three"
    path.mkdir()
    return saved(made, path)


class TestPlans:
    def test_a_plan_file_says_all_of_it(self, tmp_path):
        plan = UpdatePlan(query="auto", error_budget=0.02, drift=True, guard="4:0.2")
        path = tmp_path / "plan.toml"
        path.write_text(dump_plan(plan))
        assert load_plan(path) == plan
        names = {setting.name: setting.default for setting in settings_of(plan)}
        assert names["error_budget"] == 0.02 and names["guard_margin"] == 0.2

    @pytest.mark.parametrize(
        "options",
        [
            {"query": "sometimes"},
            {"query": "margin:x"},
            {"guard": "0"},
            {"guard": "4:7"},
            {"error_budget": 0.0},
            {"query": "auto", "loss": "mse"},
            {"query": "always", "loss": "reconstruction"},
        ],
    )
    def test_what_cannot_be(self, options):
        with pytest.raises(UserError):
            tinyodl.plan(WATCH, "host", **options)

    def test_a_network_that_learns_nothing_asks_nothing(self):
        with pytest.raises(UserError, match="the plan lets nothing"):
            tinyodl.plan(WATCH, "host", update="none", drift=True)

    def test_a_firmware_that_does_not_ask_says_so(self, tmp_path):
        tinyodl.compile(WATCH, "host", tmp_path / "p")
        tinyodl.flash(tmp_path / "p", port="host")
        x, y = person(8, "learn")
        with Session(tmp_path / "p", port="host") as session:
            with pytest.raises(UserError, match="does not ask for labels; compile it with --query"):
                session.train(x, y, query=True, run=tmp_path / "run")
            with pytest.raises(DataError, match="it has none"):
                session.client.setting("query")
            session.client.upload(x[0])
            assert refusal(session.client, Command.ASK) is Status.UNKNOWN
            assert refusal(session.client, Command.SETTING, b"\0\0\0\0") is Status.RANGE

    def test_memory_is_predicted(self):
        plain = tinyodl.plan(WATCH, "nrf52840_dk").ram.parts
        made = tinyodl.plan(WATCH, "nrf52840_dk", query="auto", drift=True, guard="4")
        record, asked, classes, size = 16 * 2 * 4, 8, 7, 32
        drift = 4 * (2 * classes * size + 2 * classes + 3 * classes)
        held = classes * GUARD_SLOTS * (size + 4)
        guard = held + 4 * (classes + 1 + classes * (size + 1))
        numbers = 4 * (len(made.settings) + 1)
        assert made.ram.parts["watching"] == record + asked + drift + guard + numbers
        assert made.ram.parts["parameters"] == plain["parameters"]


def test_with_everything_unset_the_firmware_is_as_before(tmp_path):
    """No plan field, no code."""
    board = net(tmp_path, rule="sgd")
    text = (tmp_path / "net" / "net.c").read_text()
    assert "flags" not in text and not board.settings
    assert replace(board.training, nodes=board.training.nodes) == board.training
