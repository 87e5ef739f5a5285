"""Learners that are made of class means, in generated C, against numpy in float64.

The oracle computes the published equations from all samples at once, inverse and all, where the
kernels follow each sample by rank-1 updates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.hostnet import HostNet
from tests.ops.test_recursive_least_squares import LAYER, dense, stream
from tinyodl.errors import UserError
from tinyodl.learning.training import differentiate
from tinyodl.ops.class_means import NO_CLASS
from tinyodl.ops.recursive_least_squares import triangle
from tinyodl.project.plan import UpdatePlan


def plan(optimizer, **rule):
    return UpdatePlan(optimizer=optimizer, layers={LAYER: "weights"}, loss="zero-one", **rule)


def fresh(folder, inputs, outputs):
    folder.mkdir(exist_ok=True)
    graph = dense(folder, inputs, outputs)
    none = np.full(outputs, NO_CLASS, np.float32)
    return graph.with_tensors([replace(graph.tensor("b"), data=none)])


def learned(folder, optimizer, x, labels, outputs, **rule):
    net = HostNet(fresh(folder, x.shape[1], outputs), plan(optimizer, **rule), folder)
    for sample, label in zip(x, labels, strict=True):
        net.train(sample, int(label))
    return net


def state(net, suffix):
    return net.parameter(f"<w.{suffix}>")


def means_of(x, labels, outputs):
    return np.stack([x[labels == c].mean(0, dtype=np.float64) for c in range(outputs)])


def blocks(inputs, outputs, count, seed=0):
    """A stream with one class after the other, and features that go together."""
    x, labels = stream(inputs, outputs, count, seed)
    mixed = np.random.default_rng(seed + 1).normal(size=(inputs, inputs)) / np.sqrt(inputs)
    order = np.argsort(labels, kind="stable")
    return (x @ (np.eye(inputs) + mixed)).astype(np.float32)[order], labels[order]


class TestNearestClassMean:
    @pytest.mark.parametrize(("inputs", "outputs"), [(1, 2), (5, 3), (33, 7)])
    def test_the_layer_is_made_of_the_means(self, tmp_path, inputs, outputs):
        x, labels = blocks(inputs, outputs, 200)
        net = learned(tmp_path, "ncm", x, labels, outputs)
        means = means_of(x, labels, outputs)
        np.testing.assert_allclose(net.parameter("w"), 2 * means, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(net.parameter("b"), -(means**2).sum(1), rtol=1e-4, atol=1e-5)
        counts = state(net, "samples of each class")
        np.testing.assert_array_equal(counts, np.bincount(labels, minlength=outputs))

    def test_it_predicts_the_class_of_the_smallest_distance(self, tmp_path):
        x, labels = blocks(12, 5, 300)
        net = learned(tmp_path, "ncm", x[::2], labels[::2], 5)
        means = torch.from_numpy(means_of(x[::2], labels[::2], 5))
        nearest = torch.cdist(torch.from_numpy(x[1::2]).double(), means).argmin(1)
        assert [np.argmax(net.forward(sample)) for sample in x[1::2]] == nearest.tolist()

    def test_forgetting_is_an_exponential_mean(self, tmp_path):
        x, labels = blocks(6, 3, 200)
        net = learned(tmp_path, "ncm", x, labels, 3, forgetting=0.9)
        for c in range(3):
            rows = x[labels == c].astype(float)
            ages = 0.9 ** np.arange(len(rows))[::-1]
            mean = ages @ rows / ages.sum()
            np.testing.assert_allclose(net.parameter("w")[c], 2 * mean, rtol=1e-4, atol=1e-5)


def discriminants(x, labels, outputs, ridge):
    """(W, b, P) of the covariance (S + R) / t, in float64 from all samples."""
    means = means_of(x, labels, outputs)
    around = x - means[labels]
    size = ridge * np.sum(x[0].astype(float) ** 2)
    p = np.linalg.inv(around.T @ around + size * np.eye(x.shape[1]))
    w = len(x) * means @ p
    return w, -0.5 * (w * means).sum(1), p


class TestStreamingLDA:
    @pytest.mark.parametrize(("inputs", "outputs"), [(1, 2), (5, 3), (33, 7)])
    @pytest.mark.parametrize("ridge", [0.01, 0.5])
    def test_it_is_the_analysis_of_all_samples(self, tmp_path, inputs, outputs, ridge):
        x, labels = blocks(inputs, outputs, 300)
        net = learned(tmp_path, "slda", x, labels, outputs, ridge=ridge)
        w, b, p = discriminants(x, labels, outputs, ridge)
        scale = np.abs(w).max()
        np.testing.assert_allclose(net.parameter("w"), w, rtol=1e-3, atol=1e-4 * scale)
        np.testing.assert_allclose(net.parameter("b"), b, rtol=1e-3, atol=1e-3 * np.abs(b).max())
        packed = p[np.triu_indices(inputs)]
        np.testing.assert_allclose(state(net, "inverse scatter"), packed, rtol=1e-3, atol=1e-6)
        means = means_of(x, labels, outputs)
        np.testing.assert_allclose(state(net, "class means"), means, rtol=1e-4, atol=1e-5)

    def test_its_outputs_are_likelihoods_of_normal_classes(self, tmp_path):
        """Of one covariance, as PyTorch has them, but for what all classes have in common."""
        x, labels = blocks(12, 5, 600)
        seen, held = x[::2], x[1::2]
        net = learned(tmp_path, "slda", seen, labels[::2], 5)
        _, _, p = discriminants(seen, labels[::2], 5, 0.01)
        covariance = torch.from_numpy(np.linalg.inv(p) / len(seen))
        classes = [
            torch.distributions.MultivariateNormal(torch.from_numpy(mean), covariance)
            for mean in means_of(seen, labels[::2], 5)
        ]
        points = torch.from_numpy(held).double()
        likelihoods = torch.stack([each.log_prob(points) for each in classes], 1).numpy()
        made = np.array([net.forward(sample)[0] for sample in held])
        assert (made.argmax(1) == likelihoods.argmax(1)).all()
        ours, theirs = (each - each.mean(1, keepdims=True) for each in (made, likelihoods))
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())

    def test_the_order_of_the_samples_plays_no_part(self, tmp_path):
        x, labels = blocks(8, 4, 400)
        first, rest = x[:1], np.random.default_rng(3).permutation(np.arange(1, 400))
        shuffled = np.concatenate((first, x[rest])), np.concatenate((labels[:1], labels[rest]))
        nets = [
            learned(tmp_path / name, "slda", *each, 4)
            for name, each in (("blocks", (x, labels)), ("shuffled", shuffled))
        ]
        a, b = (net.parameter("w") for net in nets)
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-3 * np.abs(a).max())

    @pytest.mark.parametrize("unit", [2.0**-12, 2.0**12])
    def test_units_that_are_powers_of_two_change_no_bit(self, tmp_path, unit):
        x, labels = blocks(6, 3, 150)
        plain = learned(tmp_path / "plain", "slda", x, labels, 3)
        scaled = learned(tmp_path / "scaled", "slda", x * np.float32(unit), labels, 3)
        np.testing.assert_array_equal(
            scaled.parameter("w") * np.float32(unit), plain.parameter("w")
        )
        np.testing.assert_array_equal(scaled.parameter("b"), plain.parameter("b"))

    @pytest.mark.parametrize("size", [1e-30, 1e-3, 1e3, 1e30, 0.0, np.nan])
    def test_a_first_sample_of_another_size_says_nothing(self, tmp_path, size):
        """One before the sensor was on, or a fault: all begins anew with the one that follows."""
        x, labels = blocks(6, 3, 120)
        strange = x[:1] * np.float32(size)
        net = learned(tmp_path, "slda", np.concatenate((strange, x)), np.append(2, labels), 3)
        w, b, _ = discriminants(x, labels, 3, 0.01)
        np.testing.assert_allclose(net.parameter("w"), w, rtol=1e-3, atol=1e-4 * np.abs(w).max())
        np.testing.assert_allclose(net.parameter("b"), b, rtol=1e-3, atol=1e-3 * np.abs(b).max())

    def test_long_streams_stay_at_the_analysis(self, tmp_path):
        """100,000 samples, far from the origin: rounding does not add up to other classes."""
        x, labels = blocks(8, 3, 2000)
        x += 20
        rows = np.random.default_rng(5).permutation(2000)
        net = HostNet(fresh(tmp_path, 8, 3), plan("slda"), tmp_path)
        for _ in range(50):
            for i in rows:
                net.train(x[i], int(labels[i]))
        every = np.tile(rows, 50)
        w, b, _ = discriminants(x[every], labels[every], 3, 0.01)
        ours = np.array([net.forward(sample)[0] for sample in x]).argmax(1)
        assert np.mean(ours == (x @ w.T + b).argmax(1)) > 0.99


def forgetting_fit(x, labels, outputs, ridge, f):
    """The layer and P from their definitions, in float64; see the kernel."""
    inputs = x.shape[1]
    each = ridge * np.sum(x[0].astype(float) ** 2)
    known, total = each * np.eye(inputs), 0.0
    means, counts = np.zeros((outputs, inputs)), np.zeros(outputs)
    for row, c in zip(x.astype(float), labels, strict=True):
        p = np.linalg.inv(known)
        forgets = np.trace(p) * each <= inputs * f
        if forgets:
            known, total, counts[c] = f * known, f * total, f * counts[c]
        moved = row - means[c]
        known += counts[c] / (counts[c] + 1) * np.outer(moved, moved)
        counts[c] += 1
        total += 1
        means[c] += moved / counts[c]
        if forgets:
            axis = np.argmax(np.diag(np.linalg.inv(known)))
            known[axis, axis] += (1 - f) * inputs * each
    p = np.linalg.inv(known)
    w = total * means @ p
    return w, -0.5 * (w * means).sum(1), p


class TestForgetting:
    @pytest.mark.parametrize("dead", [0, 3])
    @pytest.mark.parametrize("forgetting", [0.9, 0.97, 0.999])
    def test_samples_count_by_their_age(self, tmp_path, forgetting, dead):
        x, labels = stream(8, 3, 300)
        x[:, :dead] = 0
        net = learned(tmp_path, "slda", x, labels, 3, forgetting=forgetting)
        w, b, p = forgetting_fit(x, labels, 3, 0.01, forgetting)
        np.testing.assert_allclose(net.parameter("w"), w, rtol=2e-3, atol=2e-3 * np.abs(w).max())
        np.testing.assert_allclose(net.parameter("b"), b, rtol=2e-3, atol=2e-3 * np.abs(b).max())
        packed = p[np.triu_indices(8)]
        np.testing.assert_allclose(state(net, "inverse scatter"), packed, rtol=2e-2, atol=1e-3)

    @pytest.mark.parametrize("optimizer", ["slda", "ncm"])
    @pytest.mark.parametrize("dead", [0, 1, 12])
    def test_classes_that_change_their_places_are_found_again(self, tmp_path, dead, optimizer):
        rng = np.random.default_rng(dead)
        means = rng.normal(size=(3, 16))
        of = rng.integers(3, size=1200)
        x = np.maximum(means[of] + rng.normal(size=(1200, 16)), 0).astype(np.float32)
        x[:, 16 - dead :] = 0
        labels = (of + np.arange(1200) // 400) % 3
        rights = []
        for forgetting in (0.95, 1.0):
            folder = tmp_path / str(forgetting)
            net = HostNet(fresh(folder, 16, 3), plan(optimizer, forgetting=forgetting), folder)
            right = [1 - net.train(s, int(label)) for s, label in zip(x, labels, strict=True)]
            rights.append((np.mean(right[200:400]), np.mean(right[-200:])))
        (first, last), (_, never) = rights
        assert last > first - 0.06
        assert last > never + 0.2

    def test_without_new_information_p_stays_where_it_began(self, tmp_path):
        sample = np.array([[1, 0, 0, 0, 0, 0]], np.float32)
        x, labels = np.repeat(sample, 2_000, axis=0), np.arange(2_000) % 2
        net = learned(tmp_path, "slda", x, labels, 2, forgetting=0.9, ridge=0.25)
        p = state(net, "inverse scatter")
        diagonal = p[[triangle(6) - triangle(6 - i) for i in range(6)]]
        assert diagonal.sum() <= 1.001 * 6 / 0.25
        assert np.isfinite(net.parameter("w")).all()


@pytest.mark.parametrize("optimizer", ["slda", "ncm"])
class TestBoth:
    def test_a_class_is_predicted_from_its_first_sample_on_and_never_before(
        self, tmp_path, optimizer
    ):
        x, labels = blocks(5, 4, 100)
        x -= 100  # so that the outputs of all classes are far below zero
        net = HostNet(fresh(tmp_path, 5, 4), plan(optimizer), tmp_path)
        for sample, label in zip(x, labels, strict=True):
            loss = net.train(sample, int(label))
            assert net.predicted() <= label
            assert loss == float(net.predicted() != label)
        assert {int(np.argmax(net.forward(sample))) for sample in x} == {0, 1, 2, 3}

    def test_a_layer_that_has_weights_is_refused(self, tmp_path, optimizer):
        graph = fresh(tmp_path, 4, 2)
        grown = replace(graph.tensor("w"), data=np.ones((2, 4), np.float32))
        with pytest.raises(UserError, match=r"'dense' has weights already.*--learner"):
            differentiate(graph.with_tensors([grown]), plan(optimizer))
        with pytest.raises(UserError, match=r"'dense' has weights already.*--learner"):
            differentiate(dense(tmp_path, 4, 2), plan(optimizer))
        with pytest.raises(UserError, match="needs a layer with a bias"):
            differentiate(dense(tmp_path, 4, 2, bias=False), plan(optimizer))

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ({"batch": 4}, "batch 1"),
            ({"loss": "cross-entropy"}, "loss zero-one"),
            ({"weight_decay": 0.1}, "weight_decay is for optimizer sgd and momentum"),
            ({"cache": 8}, "not for optimizer"),
            ({"query": "auto"}, "query is not for optimizer"),
        ],
    )
    def test_what_does_not_go_with_it_is_named(self, optimizer, rule, message):
        given = {"layers": {LAYER: "weights"}, "loss": "zero-one", **rule}
        with pytest.raises(ValueError, match=message):
            UpdatePlan(optimizer=optimizer, **given)

    def test_it_keeps_as_much_as_is_said(self, tmp_path, optimizer):
        """Beside the layer itself, 4 C (F + 1) B, whose weights the means of ncm are."""
        graph = differentiate(fresh(tmp_path, 20, 3), plan(optimizer))
        kept = sum(t.nbytes for t in graph.tensors.values() if t.storage == "state")
        features, classes = 20, 3
        means = 4 * classes * features + 4 * classes
        of_lda = 2 * features * (features + 1) + means + 12
        assert kept == {"ncm": 4 * classes, "slda": of_lda}[optimizer]


def test_gradients_cannot_follow_the_zero_one_loss():
    with pytest.raises(ValueError, match=r"no gradient.*slda and ncm"):
        UpdatePlan(loss="zero-one")
