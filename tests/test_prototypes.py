"""--head prototypes:N: cosine prototypes on the device, and the head as it goes on learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tinyodl
from tests.models import WATCH
from tests.quick_c import QUICK
from tests.test_learners import compiled, outputs, person
from tinyodl.compiler import compilation
from tinyodl.errors import UserError
from tinyodl.host_run.network import HostNetwork
from tinyodl.session.session import Session
from tinyodl.targets.boards import load_board

W, B = "head.dense1.weight", "head.dense1.bias"
HEAD = {"head": "prototypes:9"}


def lowered(**options):
    return compilation(WATCH, load_board("host"), options).lowered


def network(**options):
    """Compiled in less time, to the same bits."""
    return HostNetwork.of(lowered(**options), flags=QUICK)


@pytest.fixture(scope="module")
def features():
    """What the head reads, (N, 32) float32, for person 8's samples to learn and to test."""
    with network(cut="/10/Flatten", update="none", loss="mse") as net:
        return tuple(net.forward_all(person(8, part)[0]) for part in ("learn", "test"))


def similar(means, x):
    """The row of the largest cosine, as PyTorch has it in float64."""
    rows, x = (torch.from_numpy(np.asarray(each, np.float64)) for each in (means, x))
    return torch.nn.functional.cosine_similarity(x[:, None], rows[None], dim=2).argmax(1).numpy()


class TestPrototypesAlone:
    def test_rows_are_directions_of_means_and_answers_those_of_the_cosine(self, features):
        x, y = person(8, "learn")
        labels = list(dict.fromkeys(y.tolist()))  # in the order in which they come
        means = np.stack([features[0][y == c].mean(0, dtype=np.float64) for c in labels])
        with network(**HEAD) as net:
            net.train_all(x, 7 * y)  # labels as they like
            found = net.parameter(W)[: len(labels)]
            answers = net.evaluate_all(person(8, "test")[0]).predicted
        expected = means / np.linalg.norm(means, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert answers.tolist() == [7 * labels[row] for row in similar(means, features[1])]

    def test_a_sample_of_zeros_has_no_direction(self):
        """The head reads the input itself."""
        x, y = person(8, "learn")
        with network(**HEAD, tap=["input"], outliers="keep") as net:
            net.train_all(x[:50], y[:50])
            before = net.state()
            net.train(np.zeros_like(x[0]), int(y[0]))
            assert net.state() == before
            assert np.isfinite(net.forward(x[0])).all()

    def test_it_is_saved_restored_and_exported(self, tmp_path):
        folder = compiled(tmp_path / "p", **HEAD)
        x, y = person(8, "learn")
        sparse = np.where(np.arange(len(y)) % 3 == 0, y, -1)
        probe, truth = person(8, "test")
        with Session(folder, port="host") as session:
            session.train(x[:120], sparse[:120], run=tmp_path / "first")
            saved = session.infer(probe)
        with Session(folder, port="host") as session:  # the board has begun anew
            np.testing.assert_array_equal(session.infer(probe), saved)
            summary = session.train(
                x[120:], sparse[120:], eval=(probe, truth), run=tmp_path / "second"
            )
            labels = np.array(session.labels())
            found = session.infer(probe)[:, : len(labels)]
            session.export(tmp_path / "learned.onnx")
        expected = outputs(tmp_path / "learned.onnx", probe)
        np.testing.assert_allclose(expected, found, rtol=1e-4, atol=1e-5 * np.abs(found).max())
        np.testing.assert_array_equal(expected.argmax(1), found.argmax(1))
        assert summary.accuracy_after == (labels[expected.argmax(1)] == truth).mean() > 0.85

    def test_started_it_is_as_if_it_had_learned_from_the_samples(self, tmp_path):
        old, new = person(9, "learn"), person(10, "learn")
        np.savez(tmp_path / "old.npz", x=old[0], y=old[1])
        with (
            network(**HEAD) as zero,
            network(**HEAD, start=tmp_path / "old.npz", start_weight=1) as started,
        ):
            zero.train_all(*old)
            found = []
            for net in (zero, started):
                net.train_all(*new)
                labels = net.parameter("<labels>").tolist()
                found.append(net.parameter(W)[[labels.index(c) for c in range(7)]])
        np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


RULES = {
    "the head": {},
    "all layers": {"update": "full", "optimizer": "momentum"},
    "batches": {"batch": 4},
    "online": {"learner": "online"},
    "rls": {"learner": "rls"},
}


class TestGoingOn:
    @pytest.mark.parametrize("rule", RULES)
    def test_after_the_shots_it_learns_as_any_head_with_these_weights(self, rule):
        """Bit for bit, also a label that comes late and makes a prototype between steps."""
        options = RULES[rule]
        x, y = person(8, "learn")
        order = np.random.default_rng(3).permutation(len(y))[:90]
        x, y = x[order], y[order]
        x, y = np.concatenate((x[y != 2], x[y == 2])), np.concatenate((y[y != 2], y[y == 2]))
        seen = np.zeros(7, int)
        with network(**HEAD, shots=4, **options) as net:
            fresh = {"max_classes": 9} if "learner" in options else {"head": "dense:9"}
            plain = {**options, **fresh, "labels": (), "unlabelled": True}
            if rule == "online":
                plain = {"head": "dense:9", "labels": (), "unlabelled": True}
            with network(**plain) as other:
                for each in (W, B):
                    other.write_parameter(each, np.zeros_like(other.parameter(each)))
                for sample, label in zip(x, y, strict=True):
                    before = net.parameter(W)
                    net.train(sample, int(label))
                    if seen[label] < 4:
                        seen[label] += 1
                        changed = (net.parameter(W) != before).any(1)
                        assert changed.sum() == 1
                        for name in (W, "<labels>"):
                            other.write_parameter(name, net.parameter(name))
                    else:
                        other.train(sample, int(label))
                learned, expected = net.state(), other.state()
        assert seen.min() == 4
        shared = set(learned) & set(expected) - {"<outliers.reach>"}
        assert {W, B} < shared
        assert [name for name in shared if learned[name] != expected[name]] == []

    def test_prototypes_are_as_large_as_the_rule_needs(self):
        """W_c . x is about 10 for a softmax, and 1 for a vector of one 1."""
        x, y = person(8, "learn")
        for learner, size in ((None, 10.0), ("rls", 1.0)):
            with network(**HEAD, shots=1, **({"learner": learner} if learner else {})) as net:
                net.train(x[0], int(y[0]))
                assert net.forward(x[0]).max() == pytest.approx(size, rel=1e-5)

    def test_a_cache_keeps_the_samples_of_prototypes_and_replays_them(self):
        x, y = person(8, "learn")
        rows = np.concatenate([np.flatnonzero(y == c)[:3] for c in range(7)])
        with network(**HEAD, shots=3, learner="transfer", cache=40) as net:
            net.train_all(x[rows], y[rows])
            assert net.library.net_cached() == len(rows)
            before = net.parameter(W)
            samples, _ = net.replay(8, 0)
            assert samples == len(rows)
            assert (net.parameter(W) != before).any()

    def test_a_sample_that_the_guard_holds_back_makes_no_prototype(self):
        x, y = person(8, "learn")
        with network(**HEAD, shots=60, guard="4") as net:
            net.train_all(x, y)
            taken, held = net.parameter("<prototypes.samples>"), len(y) // 4
            assert taken.sum() == len(y) - held

    def test_the_number_of_shots_can_be_set_while_the_board_runs(self):
        x, y = person(8, "learn")
        with network(**HEAD, shots=60) as net:
            net.train_all(x[:40], y[:40])
            assert net.parameter("<prototypes.samples>").sum() == 40
            net.setting("shots", 0)
            net.train_all(x[40:60], y[40:60])
            assert net.parameter("<prototypes.samples>").sum() == 40

    def test_its_plan_can_be_passed_back(self, tmp_path):
        options = {**HEAD, "shots": 2, "update": "full"}
        tinyodl.compile(WATCH, "nrf52840_dk", tmp_path / "a", **options)
        again = {"update": tmp_path / "a" / "plan.toml"}
        tinyodl.compile(tmp_path / "a" / "model.onnx", "nrf52840_dk", tmp_path / "b", **again)
        first, second = ((tmp_path / f / "lib/net/net.c").read_text() for f in "ab")
        assert first.split("\n", 1)[1] == second.split("\n", 1)[1]


def test_a_plan_file_says_when_the_head_goes_on(tmp_path):
    """Without its section the head would be one of zeros."""
    plan = tmp_path / "plan.toml"
    layers = '[layers]\n"head.dense1" = "weights"\n'
    plan.write_text(layers)
    with pytest.raises(UserError, match=r"no section \[prototypes\], and --head prototypes:9"):
        lowered(**HEAD, update=plan)
    plan.write_text("labels = []\n[prototypes]\nshots = 2\n" + layers)
    made = lowered(**HEAD, update=plan)
    assert [node.op for node in made.training.nodes].count("FirstShots") == 1


def test_an_int8_body_under_them(tmp_path):
    """The head is float32; onnxruntime gives the answers of what was learned."""
    x, y = person(8, "learn")
    np.savez(tmp_path / "x.npz", x=x)
    int8 = {"precision": "int8", "calibrate": tmp_path / "x.npz"}
    folder = compiled(tmp_path / "p", **HEAD, **int8)
    probe, truth = person(8, "test")
    with Session(folder, port="host") as session:
        session.train(x, y, run=tmp_path / "run")
        answers, found = session.labels(), session.infer(probe)
        session.export(tmp_path / "learned.onnx")
    expected = outputs(tmp_path / "learned.onnx", probe)
    ours = found[:, : len(answers)].argmax(1)
    assert np.mean(ours == expected.argmax(1)) == 1
    assert np.mean(np.array(answers)[ours] == truth) > 0.85


def test_what_they_take():
    """4 B a label alone; 8 a label and 4 before it goes on learning."""
    kept = {}
    for name, options in {"alone": HEAD, "on": {**HEAD, "shots": 5}, "dense": None}.items():
        given = options or {"head": "dense:9", "labels": (), "unlabelled": True}
        parts = tinyodl.plan(WATCH, "nrf52840_dk", **given).ram.parts
        kept[name] = parts["parameters"] + parts["optimizer"]
    assert kept["alone"] - kept["dense"] == 4 * 9
    assert kept["on"] - kept["dense"] == 8 * 9 + 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "prototypes:0"}, "the most labels that may come, as prototypes:5"),
        ({"head": "prototypes:4,5"}, "the most labels that may come, as prototypes:5"),
        ({"shots": 3}, "--shots is for --head prototypes:N"),
        ({**HEAD, "max_classes": 9}, "leave --max-classes away"),
        ({**HEAD, "update": "full"}, "with --shots K"),
        ({**HEAD, "update": "auto"}, "with --shots K"),
        ({**HEAD, "learner": "rls"}, "with --shots K"),
        ({**HEAD, "shots": 3, "learner": "slda"}, "goes on learning with --learner online, rls or"),
        ({**HEAD, "shots": 3, "learner": "rls", "start": "a.npz"}, "give one of them"),
        ({**HEAD, "shots": 0}, "shots = 0"),
        ({**HEAD, "shots": 3, "update": "bias"}, "plan 'weights' for"),
        ({**HEAD, "shots": 3, "loss": "mse"}, "loss mse"),
        ({**HEAD, "query": "auto"}, "query is not for optimizer prototypes"),
        ({"loss": "zero-one"}, "no gradient"),
    ],
)
def test_what_does_not_go_with_them_is_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        tinyodl.plan(WATCH, "host", **options)
