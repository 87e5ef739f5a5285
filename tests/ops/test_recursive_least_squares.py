"""Recursive least squares in generated C, against numpy's least squares over all samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from tests.frontend.models import model, node, saved, weights
from tests.hostnet import HostNet
from tinyodl.errors import UserError
from tinyodl.frontend import import_model
from tinyodl.learning.learners.rls import CORRELATION, POWER
from tinyodl.learning.training import differentiate
from tinyodl.ops.recursive_least_squares import FIRST, triangle
from tinyodl.project.plan import UpdatePlan

LAYER = "dense"


def dense(folder, inputs, outputs, *, bias=True, before="Identity", after="Identity"):
    """The graph of a dense layer that begins at zero, between operators that never learn."""
    constants = {"w": np.zeros((outputs, inputs), np.float32)}
    if bias:
        constants["b"] = np.zeros(outputs, np.float32)
    gemm = helper.make_node("Gemm", ["f", *constants], ["z"], name=LAYER, transB=1)
    nodes = [node(before, ["x"], "f"), gemm, node(after, ["z"], "y")]
    return import_model(saved(model(nodes, ["N", inputs], constants), folder))


def plan(**rule):
    given = {"layers": {LAYER: "weights"}, "loss": "one-hot", **rule}
    return UpdatePlan(optimizer="rls", **given)


def stream(inputs, outputs, count, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(outputs, inputs))
    labels = rng.integers(outputs, size=count)
    x = means[labels] + rng.normal(size=(count, inputs))
    return x.astype(np.float32), labels


def ridges(x, ridge, *, bias=True):
    """That of each input: times the first sample's |x|^2, and for the bias times their number."""
    each = np.full(x.shape[1], ridge * np.sum(x[0].astype(float) ** 2))
    return np.append(each, ridge * x.shape[1]) if bias else each


def ridge_regression(x, targets, ridge, *, bias=True, ages=1.0):
    """(w, b) that minimise the sum of squares and `ridge` of each input, by numpy's lstsq."""
    x = np.column_stack((x, np.ones(len(x)))) if bias else x
    roots = np.sqrt(np.broadcast_to(ages, len(x)))[:, None]
    rows = np.vstack((x * roots, np.diag(np.sqrt(np.broadcast_to(ridge, x.shape[1])))))
    wanted = np.vstack((targets * roots, np.zeros((x.shape[1], targets.shape[1]))))
    return np.linalg.lstsq(rows.astype(np.float64), wanted, rcond=None)[0]


def fitted(net, bias=True):
    w = net.parameter(net.parameters[0].name)
    return np.column_stack((w, net.parameter(net.parameters[1].name))).T if bias else w.T


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 2), (5, 3), (33, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_ridge_regression_over_all_samples(tmp_path, inputs, outputs, bias):
    x, labels = stream(inputs, outputs, 200)
    net = HostNet(dense(tmp_path, inputs, outputs, bias=bias), plan(ridge=0.5), tmp_path)
    for seen, (sample, label) in enumerate(zip(x, labels, strict=True), start=1):
        net.train(sample, int(label))
        if seen in (1, 10, 200):
            targets, ridge = np.eye(outputs)[labels[:seen]], ridges(x, 0.5, bias=bias)
            expected = ridge_regression(x[:seen], targets, ridge, bias=bias)
            np.testing.assert_allclose(fitted(net, bias), expected, rtol=2e-4, atol=2e-5)


def test_loss_and_prediction_are_those_before_the_update(tmp_path):
    x, labels = stream(4, 3, 50)
    net = HostNet(dense(tmp_path, 4, 3), plan(), tmp_path)
    for sample, label in zip(x, labels, strict=True):
        w = fitted(net)
        scores = sample @ w[:-1] + w[-1]
        loss = net.train(sample, int(label))
        assert loss == pytest.approx(np.mean((scores - np.eye(3)[label]) ** 2), rel=1e-5)
        assert net.predicted() == np.argmax(scores)


def test_targets_may_be_vectors(tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(80, 6)).astype(np.float32)
    targets = (x @ rng.normal(size=(6, 2)) + 0.1 * rng.normal(size=(80, 2))).astype(np.float32)
    net = HostNet(dense(tmp_path, 6, 2), plan(loss="mse"), tmp_path)
    for sample, target in zip(x, targets, strict=True):
        net.train(sample, target=target)
    expected = ridge_regression(x, targets, ridges(x, 0.01))
    np.testing.assert_allclose(fitted(net), expected, rtol=2e-4, atol=2e-5)


class TestUnits:
    """The ridge is in units of what came first, so that those of the inputs play no part."""

    @pytest.mark.parametrize("forgetting", [1.0, 0.98])
    @pytest.mark.parametrize("unit", [2.0**-12, 2.0**12])
    def test_a_power_of_two_changes_no_bit(self, tmp_path, unit, forgetting):
        x, labels = stream(6, 3, 150)
        plain, scaled = (
            HostNet(dense(tmp_path, 6, 3), plan(forgetting=forgetting), tmp_path / name)
            for name in ("plain", "scaled")
        )
        for sample, label in zip(x, labels, strict=True):
            loss = plain.train(sample, int(label))
            assert scaled.train(sample * np.float32(unit), int(label)) == loss
            assert scaled.predicted() == plain.predicted()
        w = scaled.parameter("w") * np.float32(unit)
        np.testing.assert_array_equal(w, plain.parameter("w"))
        np.testing.assert_array_equal(scaled.parameter("b"), plain.parameter("b"))

    @pytest.mark.parametrize("size", [1e-30, 1e-3, 1e3, 1e30, 0.0, np.nan])
    def test_a_first_sample_of_another_size_says_nothing_of_them(self, tmp_path, size):
        """One before the sensor was on, or a fault: P begins anew with the one that follows."""
        x, labels = stream(6, 3, 60)
        strange = x[0] * np.float32(size)
        net = HostNet(dense(tmp_path, 6, 3), plan(), tmp_path)
        net.train(strange, 0)
        for sample, label in zip(x[1:], labels[1:], strict=True):
            net.train(sample, int(label))
        learned = x[2:] if size in (1e-3, 1e3) else x[1:]  # x[1] had the error of other weights
        ridge = ridges(x[1:], 0.01)
        expected = ridge_regression(learned, np.eye(3)[labels[-len(learned) :]], ridge)
        np.testing.assert_allclose(fitted(net), expected, rtol=2e-4, atol=2e-5)

    def test_later_a_loud_or_a_silent_sample_is_one_like_others(self, tmp_path):
        x, labels = stream(6, 3, 60)
        x[30], x[40] = 0, x[40] * 1000
        net = HostNet(dense(tmp_path, 6, 3), plan(), tmp_path)
        for sample, label in zip(x, labels, strict=True):
            net.train(sample, int(label))
        expected = ridge_regression(x, np.eye(3)[labels], ridges(x, 0.01))
        np.testing.assert_allclose(fitted(net), expected, rtol=5e-3, atol=1e-4)


def forgetting_fit(x, targets, ridge, forgetting):
    """(w, b), and the inverse of P, from the normal equations in float64.

    A sample counts `forgetting` times less with each that follows. After each comes one of a single
    input, that of which least is known: its target is what the weights have for it.
    """
    x = np.column_stack((x, np.ones(len(x)))).astype(float)
    known, wanted = np.diag(ridge), np.zeros((x.shape[1], targets.shape[1]))
    for row, target in zip(x, targets, strict=True):
        known, wanted = forgetting * known, forgetting * wanted
        known += np.outer(row, row)
        wanted += np.outer(row, target)
        w = np.linalg.solve(known, wanted)
        axis = np.argmax(np.diag(np.linalg.inv(known)) * ridge)
        leak = (1 - forgetting) * x.shape[1] * ridge[axis]
        known[axis, axis] += leak
        wanted[axis] += leak * w[axis]
    return w, known


class TestForgetting:
    @pytest.mark.parametrize("dead", [0, 3])
    @pytest.mark.parametrize("forgetting", [0.9, 0.97, 0.999])
    def test_samples_count_by_their_age(self, tmp_path, forgetting, dead):
        x, labels = stream(8, 3, 300)
        x[:, :dead] = 0
        net = HostNet(dense(tmp_path, 8, 3), plan(forgetting=forgetting), tmp_path)
        for sample, label in zip(x, labels, strict=True):
            net.train(sample, int(label))
        ridge = ridges(x, 0.01)
        expected, known = forgetting_fit(x, np.eye(3)[labels], ridge, forgetting)
        np.testing.assert_allclose(fitted(net), expected, rtol=1e-3, atol=2e-4)
        p = np.linalg.inv(known)[np.triu_indices(9)]
        np.testing.assert_allclose(net.parameter(net.parameters[2].name), p, rtol=2e-2, atol=1e-3)

    def test_without_new_information_p_stays_where_it_began(self, tmp_path):
        net = HostNet(dense(tmp_path, 6, 2), plan(forgetting=0.9, ridge=0.25), tmp_path)
        sample = np.array([1, 0, 0, 0, 0, 0], np.float32)
        for step in range(2_000):
            net.train(sample, step % 2)
        p = net.parameter(net.parameters[2].name)
        diagonal = p[[triangle(7) - triangle(7 - i) for i in range(7)]]
        assert diagonal.sum() <= 7 / 0.25
        assert np.isfinite(fitted(net)).all()

    @pytest.mark.parametrize("dead", [0, 1, 12])
    def test_inputs_that_are_always_zero_do_not_stop_it(self, tmp_path, dead):
        """Classes change their places; what was learned before would be wrong ever after."""
        rng = np.random.default_rng(dead)
        means = rng.normal(size=(3, 16))
        of = rng.integers(3, size=1200)
        x = np.maximum(means[of] + rng.normal(size=(1200, 16)), 0).astype(np.float32)
        x[:, 16 - dead :] = 0
        labels = (of + np.arange(1200) // 400) % 3
        net = HostNet(dense(tmp_path, 16, 3), plan(forgetting=0.98), tmp_path)
        right = []
        for sample, label in zip(x, labels, strict=True):
            net.train(sample, int(label))
            right.append(net.predicted() == label)
        first = np.mean(right[200:400])
        assert np.mean(right[-200:]) > first - 0.06


def test_p_may_begin_elsewhere(tmp_path):
    """Begun with what the first half brought, the second half leads to the same place."""
    x, labels = stream(5, 3, 100)
    graph = dense(tmp_path, 5, 3)
    first = np.column_stack((x[:50], np.ones(50))).astype(np.float64)
    p = np.linalg.inv(first.T @ first + np.eye(6))
    w = ridge_regression(x[:50], np.eye(3)[labels[:50]], 1.0)
    x[50] *= 100  # P has begun: it does not begin anew
    held = {"w": w[:-1].T, "b": w[-1]}
    tensors = [replace(graph.tensor(n), data=v.astype(np.float32)) for n, v in held.items()]
    begun = {CORRELATION: p, POWER: np.array([1, FIRST], np.float32)}
    net = HostNet(graph.with_tensors(tensors), plan(), tmp_path, begun=begun)
    for sample, label in zip(x[50:], labels[50:], strict=True):
        net.train(sample, int(label))
    expected = ridge_regression(x, np.eye(3)[labels], 1.0)
    np.testing.assert_allclose(fitted(net), expected, rtol=1e-3, atol=1e-4)


def test_what_it_cannot_fit_is_named(tmp_path):
    with pytest.raises(ValueError, match="squared loss: one-hot"):
        plan(loss="cross-entropy")
    with pytest.raises(ValueError, match="batch 1"):
        plan(batch=4)
    gemm = helper.make_node("Gemm", ["x", "w"], ["f"], name=LAYER, transB=1)
    bent = model([gemm, node("Relu", ["f"], "y")], ["N", 4], {"w": weights(3, 4)})
    graph = import_model(saved(bent, tmp_path))
    with pytest.raises(UserError, match=r"the last of the network.*'dense'"):
        differentiate(graph, plan())
    with pytest.raises(UserError, match="plan 'weights' for 'dense'"):
        differentiate(dense(tmp_path, 4, 2), plan(layers={LAYER: "bias"}))
