"""The cache of features in generated C: what is kept, what is drawn, what is learned from it."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from onnx import helper

from tests.frontend.models import model, node, saved
from tests.hostnet import HostNet
from tinyodl.errors import UserError
from tinyodl.frontend import import_model
from tinyodl.learning.beside.cache import feature as feature_cache
from tinyodl.project.plan import UpdatePlan

INPUTS, FEATURES, HIDDEN, CLASSES = 9, 6, 5, 4
EPOCHS, UNIFORM, BALANCED = range(3)
EVERY = {"hidden": "weights", "out": "weights"}


def constants():
    rng = np.random.default_rng(1)
    shapes = {"w0": (FEATURES, INPUTS), "w1": (HIDDEN, FEATURES), "b1": (HIDDEN,),
              "w2": (CLASSES, HIDDEN), "b2": (CLASSES,)}  # fmt: skip
    return {name: (rng.normal(size=shape) / 3).astype(np.float32) for name, shape in shapes.items()}


def made_of(x):
    """The features of samples."""
    return x.reshape(len(x), INPUTS) @ constants()["w0"].T


def network(folder):
    """A frozen layer, then two that learn."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("Gemm", ["x", "w0"], ["f"], name="frozen", transB=1),
        helper.make_node("Gemm", ["f", "w1", "b1"], ["h"], name="hidden", transB=1),
        node("Relu", ["h"], "r"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="out", transB=1),
    ]
    return import_model(saved(model(nodes, ["N", INPUTS], constants()), folder))


def net(folder, **rule):
    given = {"layers": EVERY, "cache": 12, "optimizer": "momentum", **rule}
    return HostNet(network(folder), UpdatePlan(**given), folder / "c")


def stream(labels, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(labels), 1, INPUTS)).astype(np.float32)


def books(found):
    return found.parameter(feature_cache.BOOKS)


def held(found):
    """Labels and features of the slots in use."""
    count = books(found)[feature_cache.HELD]
    kept = found.parameter(feature_cache.FEATURES).astype(np.float32)
    kept *= found.parameter(feature_cache.SCALES)[:, None]
    return found.parameter(feature_cache.CACHED_LABELS)[:count], kept[:count]


class Chance:
    """The device's generator and its draws, written from the kernel's comments."""

    def __init__(self, seed):
        self.state = feature_cache.first_random(seed) & 0xFFFFFFFF

    def below(self, n):
        r = self.state
        r ^= r << 13 & 0xFFFFFFFF
        r ^= r >> 17
        r ^= r << 5 & 0xFFFFFFFF
        self.state = r
        return r * n >> 32

    def epoch(self, sequence):
        """The next permutation, in place."""
        for at in range(len(sequence)):
            other = at + self.below(len(sequence) - at)
            sequence[at], sequence[other] = sequence[other], sequence[at]
        return sequence


def reference(found):
    """The layers that learn, as they are now, in PyTorch."""
    head = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES)
    )
    with torch.no_grad():
        for layer, (w, b) in {0: ("w1", "b1"), 2: ("w2", "b2")}.items():
            head[layer].weight.copy_(torch.from_numpy(found.parameter(w)))
            head[layer].bias.copy_(torch.from_numpy(found.parameter(b)))
    return head.double()


def learn(head, optimizer, features, labels):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(
        head(torch.from_numpy(features).double()), torch.from_numpy(labels).long(), reduction="none"
    )
    loss.mean().backward()
    optimizer.step()
    return loss.detach().numpy()


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_epochs_over_the_cache_are_pytorch_s_on_the_same_features(tmp_path, batch, optimizer):
    """Permuted epochs whose last batch is smaller; weight decay where there is some."""
    decay = 0.0 if optimizer == "adam" else 0.03
    found = net(tmp_path, batch=batch, replay=0, optimizer=optimizer, seed=7,
                learning_rate=0.05, weight_decay=decay)  # fmt: skip
    labels = np.arange(12) % CLASSES
    for x, label in zip(stream(labels), labels, strict=True):
        found.train(x, int(label))
    _, features = held(found)
    head, chance, sequence = reference(found), Chance(7), list(range(12))
    torch_s = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=decay),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=decay),
        "adam": lambda p: torch.optim.Adam(p, lr=0.05),
    }[optimizer](head.parameters())
    for _ in range(4):
        samples, loss = found.replay(1000, EPOCHS)
        chosen = chance.epoch(sequence)
        losses = [
            learn(head, torch_s, features[chosen[i : i + batch]], labels[chosen[i : i + batch]])
            for i in range(0, 12, batch)
        ]
        assert samples == 12
        assert loss == pytest.approx(np.concatenate(losses).mean(), rel=1e-5)
    for name, layer in {"w1": 0, "w2": 2}.items():
        expected = head[layer].weight.detach().numpy()
        np.testing.assert_allclose(found.parameter(name), expected, rtol=1e-4, atol=1e-6)


def test_an_epoch_goes_on_where_a_request_ended(tmp_path):
    whole, parts = (net(tmp_path / name, batch=5, replay=0) for name in ("whole", "parts"))
    labels = np.arange(12) % CLASSES
    for found in (whole, parts):
        for x, label in zip(stream(labels), labels, strict=True):
            found.train(x, int(label))
    assert whole.replay(9, EPOCHS)[0] == 12
    assert [parts.replay(1, EPOCHS)[0] for _ in range(3)] == [5, 5, 2]
    np.testing.assert_array_equal(whole.parameter("w1"), parts.parameter("w1"))


def test_a_step_learns_from_the_sample_and_from_others_of_the_cache(tmp_path):
    """The sample that came as it is, the others as they are kept, the mean of their gradients."""
    found = net(tmp_path, replay=3, optimizer="sgd", learning_rate=0.1)
    labels = np.array([2, 0, 1, 2, 3, 0])
    chance = Chance(0)
    samples = stream(labels)
    for x, label in zip(samples, labels, strict=True):
        head = reference(found)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
        loss = found.train(x, int(label))
        kept, features = held(found)
        chosen = []
        for _ in range(2):
            classes = np.unique(kept)
            slots = np.flatnonzero(kept == classes[chance.below(len(classes))])
            chosen.append(slots[chance.below(len(slots))])
        batch = np.vstack((made_of(x), features[chosen])).astype(np.float32)
        losses = learn(head, optimizer, batch, np.array([label, *kept[chosen]]))
        assert loss == pytest.approx(losses[0], rel=1e-5)
        expected = head[0].weight.detach().numpy()
        np.testing.assert_allclose(found.parameter("w1"), expected, rtol=1e-4, atol=1e-6)


def test_features_are_kept_within_half_a_step_of_their_largest(tmp_path):
    found = net(tmp_path, replay=0)
    labels = np.arange(12) % CLASSES
    x = stream(labels)
    x[3] = 0
    for sample, label in zip(x, labels, strict=True):
        found.train(sample, int(label))
    kept, features = held(found)
    made = made_of(x)
    np.testing.assert_array_equal(kept, labels)
    np.testing.assert_array_less(abs(features - made).max(1), abs(made).max(1) / 253 + 1e-9)


class TestRoom:
    """Which samples of a stream are in a full cache."""

    def kept(self, folder, labels, **rule):
        return self.streamed(net(folder, replay=0, **rule), labels)

    def streamed(self, found, labels):
        """The numbers of the samples that are kept."""
        for x, label in zip(stream(labels), labels, strict=True):
            found.train(x, int(label))
        kept, features = held(found)
        made = made_of(stream(labels))
        numbers = [int(abs(made - row).max(1).argmin()) for row in features]
        np.testing.assert_array_equal(kept, labels[numbers])
        assert len(set(numbers)) == len(numbers)
        counts = books(found)[feature_cache.CLASSES :].reshape(CLASSES, 2).T
        np.testing.assert_array_equal(counts[0], np.bincount(labels, minlength=CLASSES))
        np.testing.assert_array_equal(counts[1], np.bincount(kept, minlength=CLASSES))
        return numbers

    def test_a_ring_keeps_the_latest(self, tmp_path):
        kept = self.kept(tmp_path, np.arange(40) % CLASSES, cache_policy="ring")
        assert sorted(kept) == list(range(28, 40))

    def test_a_reservoir_keeps_each_with_the_same_chance(self, tmp_path):
        found, kept = net(tmp_path, replay=0, cache_policy="reservoir"), []
        for seed in range(25):
            found.library.net_reset()
            begun = books(found)
            begun[feature_cache.RANDOM] = feature_cache.first_random(seed)
            found.write_parameter(feature_cache.BOOKS, begun)
            kept += self.streamed(found, np.arange(60) % CLASSES)
        thirds = np.bincount(np.array(kept) // 20, minlength=3) / len(kept)
        assert abs(thirds - 1 / 3).max() < 0.1

    def test_balanced_keeps_as_many_of_every_class_in_any_order(self, tmp_path):
        labels = np.repeat([0, 1, 2, 3], [200, 30, 50, 3])
        kept = labels[self.kept(tmp_path, labels, cache_policy="balanced")]
        np.testing.assert_array_equal(np.bincount(kept), [3, 3, 3, 3])

    def test_balanced_keeps_all_of_a_rare_class(self, tmp_path):
        labels = np.repeat([0, 1, 2], [100, 1, 100])
        kept = labels[self.kept(tmp_path, labels, cache_policy="balanced")]
        assert np.bincount(kept)[1] == 1 and abs(np.diff(np.bincount(kept)[[0, 2]])) <= 1

    def test_ageing_loses_no_class_and_of_each_the_oldest(self, tmp_path):
        """Of two samples of a class it keeps one; one that does not come any more loses none."""
        labels = np.concatenate([np.repeat([0, 1, 2, 3], [200, 30, 50, 3]), np.arange(300) % 3])
        numbers = np.array(self.kept(tmp_path, labels))  # the default
        np.testing.assert_array_equal(np.bincount(labels[numbers]), [3, 3, 3, 3])
        assert sorted(numbers[labels[numbers] == 3]) == [280, 281, 282]
        for c in range(3):
            ages = (len(labels) - 1 - numbers[labels[numbers] == c]) / 3  # in samples of its class
            assert ages.max() < 20 and ages.min() < 6

    def test_in_flash_balanced_is_the_default(self):
        assert UpdatePlan(cache=9).beside["cache"].policy == "ageing"
        assert UpdatePlan(cache=9, cache_memory="flash").beside["cache"].policy == "balanced"


@pytest.mark.parametrize("order", [UNIFORM, BALANCED])
def test_draws_with_replacement(tmp_path, order):
    """Balanced: as often from a class of one sample as from one of nine."""
    found = net(tmp_path, replay=0, batch=2, cache_policy="ring", learning_rate=1e-9)
    labels = np.repeat([0, 3], [9, 1])
    losses = {}
    for x, label in zip(stream(labels), labels, strict=True):
        losses.setdefault(label, []).append(found.train(x, int(label)))
    samples, loss = found.replay(1000, order)
    means = [np.mean(each) for each in losses.values()]
    expected = np.average(means, weights=[9, 1] if order == UNIFORM else [1, 1])
    assert samples == 2000
    assert loss == pytest.approx(expected, abs=0.1 * abs(means[0] - means[1]))


def test_an_empty_cache_teaches_nothing(tmp_path):
    found = net(tmp_path)
    before = found.parameter("w1")
    assert found.replay(5, UNIFORM) == (0, 0.0)
    np.testing.assert_array_equal(found.parameter("w1"), before)


def test_the_prediction_of_a_step_is_that_of_its_sample(tmp_path):
    found = net(tmp_path, replay=4, learning_rate=1e-9)
    for x in stream(np.zeros(20, int), seed=5):
        found.forward(x)
        first = found.predicted()
        found.train(x, 1)
        assert found.predicted() == first


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"layers": {"frozen": "weights", "out": "weights"}}, None),
        ({"layers": {}}, "layers that learn, and none does"),
    ],
)
def test_where_the_cache_is(tmp_path, rule, message):
    plan = UpdatePlan(**{"cache": 4, **rule})
    if message is None:
        found = HostNet(network(tmp_path), plan, tmp_path / "c")
        assert found.parameter(feature_cache.FEATURES).shape == (4, INPUTS)
    else:
        with pytest.raises(UserError, match=message):
            HostNet(network(tmp_path), plan, tmp_path / "c")


@pytest.mark.parametrize("policy", ["ring", "reservoir", "balanced", "ageing"])
def test_whatever_is_written_into_it_nothing_undefined_happens(tmp_path, policy):
    """By a host, or by a store of another program: undefined behaviour traps."""
    traps = ("gcc", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    plan = UpdatePlan(layers=EVERY, cache=12, replay=3, batch=2, cache_policy=policy)
    found = HostNet(network(tmp_path), plan, tmp_path / "c", compiler=traps)
    random = np.random.default_rng(0)
    for x in stream(np.zeros(60, int)):
        for name in (feature_cache.BOOKS, feature_cache.CACHED_LABELS, feature_cache.SEQUENCE):
            held = found.parameter(name)
            junk = random.choice(np.array([0, 1, 127, 128, 255], np.uint8), held.nbytes)
            found.write_parameter(name, junk.view(held.dtype).reshape(held.shape))
        found.train(x, int(random.integers(CLASSES)))
        for order in (EPOCHS, UNIFORM, BALANCED):
            assert found.replay(2, order)[0] <= 4


class TestFlash:
    """The cache in flash, of which every word can be written once; `flash_left` words at all."""

    def net(self, folder, **rule):
        return net(folder, **{"cache_memory": "flash", "replay": 0, **rule})

    def memory(self, found):
        size = 16 + 12 * (8 + 8)  # 6 features
        return (ctypes.c_uint8 * size).in_dll(found.library, "flash")

    def variable(self, found, name):
        return ctypes.c_uint32.in_dll(found.library, name)

    def started(self, folder, memory, **rule):
        """The same network after a start with this flash."""
        found = self.net(folder, **rule)
        ctypes.memmove(self.memory(found), bytes(memory), len(memory))
        found.library.net_reset()
        return found

    def labels(self, found):
        """Of the samples that are there, in the order in which they were kept."""
        slots = found.parameter(feature_cache.SEQUENCE)[: found.library.net_cached()]
        return found.parameter(feature_cache.CACHED_LABELS)[np.sort(slots)].tolist()

    @pytest.mark.parametrize("order", [EPOCHS, BALANCED])
    def test_the_board_learns_from_it_what_it_learns_from_ram(self, tmp_path, order):
        """The same bits, for as long as there is room, and with others in each step."""
        rule = {"cache_policy": "first", "batch": 5, "replay": 3}
        labels = np.arange(15) % CLASSES
        ram = net(tmp_path / "ram", **rule)
        flash = self.net(tmp_path / "flash", **rule)
        for found in (ram, flash):
            for x, label in zip(stream(labels), labels, strict=True):
                found.train(x, int(label))
        for _ in range(3):
            assert ram.replay(3, order) == flash.replay(3, order)
        for name in ("w1", "b1", "w2", "b2"):
            assert ram.parameter(name).tobytes() == flash.parameter(name).tobytes()
        np.testing.assert_array_equal(
            books(ram), books(flash)[: feature_cache.CLASSES + 2 * CLASSES]
        )

    def test_uniform_draws_take_every_sample(self, tmp_path):
        found = self.net(tmp_path, cache_policy="first", batch=2, learning_rate=1e-9)
        losses = [found.train(x, 1) for x in stream(np.ones(12, int))]
        _, loss = found.replay(1000, UNIFORM)
        assert loss == pytest.approx(np.mean(losses), rel=0.05)

    def test_balanced_keeps_an_equal_share_for_each_class(self, tmp_path):
        found = self.net(tmp_path)
        labels = np.repeat([2, 0, 1, 3], [20, 2, 9, 3])
        for x, label in zip(stream(labels), labels, strict=True):
            found.train(x, int(label))
        assert self.labels(found) == [2, 2, 2, 0, 0, 1, 1, 1, 3, 3, 3]

    def test_what_is_there_is_found_at_every_start(self, tmp_path):
        found = self.net(tmp_path / "a")
        labels = np.array([3, 1, 1, 0, 2])
        for x, label in zip(stream(labels), labels, strict=True):
            found.train(x, int(label))
        again = self.started(tmp_path / "b", self.memory(found))
        assert self.labels(again) == labels.tolist()
        again.train(stream(labels)[0], 3)
        assert self.labels(again) == [*labels, 3]
        assert self.variable(again, "flash_erased").value == 0

    def test_what_another_network_kept_is_erased_with_the_first_sample(self, tmp_path):
        found = self.net(tmp_path / "a")
        for x in stream(np.zeros(3, int)):
            found.train(x, 0)
        other = self.started(tmp_path / "b", self.memory(found), learning_rate=0.5)
        assert other.library.net_cached() == 0
        other.train(stream(np.zeros(1, int))[0], 2)
        assert self.labels(other) == [2]
        assert self.variable(other, "flash_erased").value == 1

    def test_a_reset_forgets(self, tmp_path):
        found = self.net(tmp_path)
        found.train(stream(np.zeros(1, int))[0], 2)
        found.library.net_forget()
        found.library.net_reset()
        assert found.library.net_cached() == 0

    def test_power_may_fail_at_any_word(self, tmp_path):
        """What was kept is there, and one slot is lost at most; the weights learn nothing."""
        samples, labels = stream(np.zeros(3, int)), [1, 2, 3]
        whole = self.net(tmp_path / "whole", replay=2)
        words = self.variable(whole, "flash_left").value
        for x, label in zip(samples, labels, strict=True):
            whole.train(x, label)
        words -= self.variable(whole, "flash_left").value
        assert words == 4 + 3 * (1 + 1 + 2)
        cut = self.net(tmp_path / "cut", replay=2)
        again = self.net(tmp_path / "again", replay=2)
        for left in range(words):
            ctypes.memset(self.memory(cut), 0xFF, len(self.memory(cut)))
            self.variable(cut, "flash_left").value = left
            cut.library.net_reset()
            kept = []
            for x, label in zip(samples, labels, strict=True):
                before = cut.parameter("w1")
                cut.train(x, label)
                if not cut.library.net_kept():
                    np.testing.assert_array_equal(cut.parameter("w1"), before)
                    break
                kept.append(label)
            assert len(kept) == max(left - 4, 0) // 4
            ctypes.memmove(self.memory(again), bytes(self.memory(cut)), len(self.memory(cut)))
            again.library.net_reset()
            assert self.labels(again) == kept
            again.train(samples[0], 0)
            assert again.library.net_kept()
            assert self.labels(again) == [*kept, 0]
            begun = books(again)[-1]
            assert len(kept) + 1 <= begun <= len(kept) + 2
            assert again.replay(20, EPOCHS)[0] == len(kept) + 1

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ({"cache": 3}, "give at least 4, or --cache-policy first"),
            ({"cache_policy": "ring"}, "nothing is written over"),
            ({"labels": (3,)}, "would outlive the table of labels"),
        ],
    )
    def test_what_cannot_be(self, tmp_path, rule, message):
        with pytest.raises((UserError, ValueError), match=message):
            self.net(tmp_path, **rule)
