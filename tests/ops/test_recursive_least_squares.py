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
from tinyodl.ops.recursive_least_squares import triangle
from tinyodl.training import differentiate
from tinyodl.update_plan import UpdatePlan

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


def ridge_regression(x, targets, ridge, *, bias=True, ages=1.0):
    """(w, b) that minimise the sum of squares and ridge * |w, b|^2, by numpy's lstsq."""
    x = np.column_stack((x, np.ones(len(x)))) if bias else x
    roots = np.sqrt(np.broadcast_to(ages, len(x)))[:, None]
    rows = np.vstack((x * roots, np.sqrt(ridge) * np.eye(x.shape[1])))
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
            expected = ridge_regression(x[:seen], np.eye(outputs)[labels[:seen]], 0.5, bias=bias)
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
    expected = ridge_regression(x, targets, 1.0)
    np.testing.assert_allclose(fitted(net), expected, rtol=2e-4, atol=2e-5)


def test_forgetting_weighs_samples_by_their_age(tmp_path):
    """While P may grow: here the past decays below where it began, and so does the ridge."""
    x, labels = stream(8, 3, 120)
    x *= 10  # much is learned from each sample: the trace of P falls faster than it grows
    net = HostNet(dense(tmp_path, 8, 3), plan(forgetting=0.97), tmp_path)
    for sample, label in zip(x, labels, strict=True):
        net.train(sample, int(label))
    ages = 0.97 ** np.arange(119, -1, -1)
    expected = ridge_regression(x, np.eye(3)[labels], 0.97**120, ages=ages)
    np.testing.assert_allclose(fitted(net), expected, rtol=1e-3, atol=1e-4)


def test_without_new_information_p_stays_where_it_began(tmp_path):
    net = HostNet(dense(tmp_path, 6, 2), plan(forgetting=0.9, ridge=0.25), tmp_path)
    sample = np.array([1, 0, 0, 0, 0, 0], np.float32)
    for step in range(2_000):
        net.train(sample, step % 2)
    p = net.parameter(net.parameters[2].name)
    diagonal = p[[triangle(7) - triangle(7 - i) for i in range(7)]]
    assert diagonal.sum() <= 7 / 0.25
    assert np.isfinite(fitted(net)).all()


def test_p_may_begin_elsewhere(tmp_path):
    """Begun with what the first half brought, the second half leads to the same place."""
    x, labels = stream(5, 3, 100)
    graph = dense(tmp_path, 5, 3)
    first = np.column_stack((x[:50], np.ones(50))).astype(np.float64)
    p = np.linalg.inv(first.T @ first + np.eye(6))
    w = ridge_regression(x[:50], np.eye(3)[labels[:50]], 1.0)
    held = {"w": w[:-1].T, "b": w[-1]}
    tensors = [replace(graph.tensor(n), data=v.astype(np.float32)) for n, v in held.items()]
    net = HostNet(graph.with_tensors(tensors), plan(), tmp_path, correlation=p)
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
