"""Every operator, forward and backward, against PyTorch in float64, on drawn shapes and values."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.frontend.models import model, node
from tests.hostnet import HostNet
from tests.ops.graphs import PLAN, around
from tests.ops.imported import same_as_onnxruntime
from tinyodl.graph import Node, Tensor
from tinyodl.learning.tensors import state_name
from tinyodl.learning.training import differentiate
from tinyodl.ops import OPERATORS, Operator
from tinyodl.ops.shared import Layer

_numbers = itertools.count()
check = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def compare(
    folder,
    op,
    inputs,
    reference,
    attrs=None,
    weights=(),
    *,
    constants=(),
    used=(0,),
    label=None,
    terms=None,
):
    """One step of the generated C against `reference(**inputs)` and its gradients in float64.

    `inputs`, `weights`, `constants` and `used` are those of `around`; a reference of which several
    outputs are used returns all of those, flat and one after the other, as (1, N).
    The tolerance is float32 rounding: 1e-5 of the value, and 2e-6 of the largest magnitude: of the
    result, or of the terms that the formula subtracts: `terms(incoming gradient)`.
    With a `label` the loss is softmax cross-entropy, else the squared error to a drawn target.
    """
    plan = PLAN | {"loss": "mse" if label is None else "cross-entropy"}
    graph, plan = around(op, inputs, attrs, weights, plan, constants=constants, used=used)
    net = HostNet(graph, plan, folder / f"net{next(_numbers)}")
    leaves = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=name not in constants)
        for name, value in inputs.items()
        if value is not None
    }
    y = reference(**leaves)
    y.retain_grad()
    one = np.ones((1, 1), np.float32)
    _close(net.forward(one), y, "output")
    target = np.random.default_rng(1).normal(size=tuple(y.shape)).astype(np.float32)
    if label is None:
        expected = functional.mse_loss(y, torch.tensor(target, dtype=torch.float64))
        found = net.train(one, target=target)
    else:
        expected = functional.cross_entropy(y.reshape(1, -1), torch.tensor([label]))
        found = net.train(one, label)
    assert found == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    expected.backward()
    magnitude = terms(y.grad) if terms else 0.0
    for name, leaf in leaves.items():
        if name in constants:
            continue
        held = state_name(name if name in weights else f"{name}.b", "sum")
        _close(
            net.parameter(held).reshape(tuple(leaf.shape)),
            leaf.grad,
            f"gradient of {name}",
            magnitude,
        )


def _close(found, expected, what, magnitude=0.0):
    expected = expected.detach().numpy()
    scale = max(np.abs(expected).max(), magnitude)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * scale, err_msg=what)


def values(seed, *shape, spread=1.0):
    return (np.random.default_rng(seed).normal(size=shape) * spread).astype(np.float32)


def separated(seed, *shape):
    """Values at least 0.01 apart, none near 0: no rounding can move a kink or a maximum."""
    order = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    return ((order - order.size // 2) * 0.02 + 0.01).reshape(shape).astype(np.float32)


seeds = st.integers(0, 2**20)
small = st.integers(1, 3)
pads = st.tuples(*[st.integers(0, 2)] * 4)


@check
@given(
    seed=seeds,
    group=small,
    per_group=st.tuples(small, small),
    size=st.tuples(st.integers(1, 7), st.integers(1, 9)),
    kernel=st.tuples(small, small),
    strides=st.tuples(small, small),
    dilations=st.tuples(st.integers(1, 2), small),
    pads=pads,
    bias=st.booleans(),
)
def test_conv(tmp_path, seed, group, per_group, size, kernel, strides, dilations, pads, bias):
    top, left, bottom, right = pads
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = (max(size[0], reach[0] - top - bottom), max(size[1], reach[1] - left - right))
    inputs = {
        "x": values(seed, 1, group * per_group[0], *size),
        "w": values(seed + 1, group * per_group[1], per_group[0], *kernel),
    }
    if bias:
        inputs["b"] = values(seed + 2, group * per_group[1])

    def reference(x, w, b=None):
        padded = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(padded, w, b, stride=strides, dilation=dilations, groups=group)

    attrs = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
    compare(tmp_path, "Conv", inputs, reference, attrs, weights=("w", "b"))


@check
@given(seed=seeds, n=st.integers(1, 12), k=st.integers(1, 40), bias=st.booleans())
def test_gemm(tmp_path, seed, n, k, bias):
    inputs = {"x": values(seed, 1, k), "w": values(seed + 1, n, k)}
    if bias:
        inputs["b"] = values(seed + 2, n)

    def reference(x, w, b=None):
        return functional.linear(x, w, b)

    compare(tmp_path, "Gemm", inputs, reference, weights=("w", "b"))


@check
@given(seed=seeds, size=st.integers(1, 40))
def test_relu(tmp_path, seed, size):
    compare(tmp_path, "Relu", {"x": separated(seed, 1, size)}, torch.relu)


@check
@given(seed=seeds, size=st.integers(1, 40), low=st.sampled_from([-0.1, 0.0]), high=st.booleans())
def test_clip(tmp_path, seed, size, low, high):
    bounds = {"min": low, "max": 0.2 if high else np.inf}
    inputs = {"x": separated(seed, 1, size) + np.float32(0.003)}
    compare(tmp_path, "Clip", inputs, lambda x: x.clamp(low, bounds["max"]), bounds)


@check
@given(seed=seeds, size=st.integers(1, 40))
def test_add(tmp_path, seed, size):
    inputs = {"a": values(seed, 1, size), "b": values(seed + 1, 1, size)}
    compare(tmp_path, "Add", inputs, lambda a, b: a + b)


@check
@given(seed=seeds, size=st.integers(2, 20), spread=st.sampled_from([1.0, 10.0]), data=st.data())
def test_cross_entropy(tmp_path, seed, size, spread, data):
    label = data.draw(st.integers(0, size - 1))
    inputs = {"x": values(seed, 1, size, spread=spread)}
    attrs = {"shape": (1, size)}
    compare(tmp_path, "Reshape", inputs, lambda x: x, attrs, label=label, terms=lambda gy: 1.0)


def test_a_constant_operand_is_read_where_it_lies(tmp_path):
    inputs = {"a": values(1, 1, 9), "b": values(2, 1, 9)}
    compare(tmp_path, "Add", inputs, lambda a, b: a + b, constants=("b",))


def test_relu_is_imported(tmp_path):
    same_as_onnxruntime(model([node("Relu", ["x"], "y")], [1, 3, 5]), tmp_path)


def test_a_parameter_takes_gradients_that_are_added_for_it(tmp_path, monkeypatch):
    """A rule that adds for all operands alike works for one that learns."""
    layer = replace(OPERATORS["Add"], layer=Layer(weights=(1,)))
    monkeypatch.setitem(OPERATORS, "Add", layer)
    inputs = {"a": values(1, 1, 9), "b": values(2, 1, 9)}
    compare(tmp_path, "Add", inputs, lambda a, b: a + b, weights=("b",))


def test_a_rule_gets_the_gradients_of_all_outputs_that_are_used(monkeypatch):
    seen = []
    two = Operator(
        "Two",
        call=None,
        kernel=None,
        shape=lambda node, shapes: (shapes[0], (1, 4)),
        gradient=lambda backward, node, *gradients: seen.append(gradients),
    )
    monkeypatch.setitem(OPERATORS, "Two", two)
    for used, expected in (
        ((0,), ("y.gradient", None)),
        ((1,), (None, "y.gradient")),
        ((1, 0), ("y0.gradient", "y.gradient")),
    ):
        differentiate(*around("Two", {"x": values(1, 1, 9)}, used=used))
        assert seen.pop() == expected


def test_a_tensor_used_twice_gets_both_gradients(tmp_path):
    """Fan-out: y = relu(x) + x through one tensor."""
    graph, plan = around("Relu", {"x": separated(3, 1, 9)})
    twice = Node("Add", "twice", ("x", "y"), ("z",))
    graph = replace(graph, nodes=(*graph.nodes, twice), outputs=("z",))
    graph = graph.with_tensors([Tensor("z", (1, 9))])
    net = HostNet(graph, plan, tmp_path)
    x = torch.tensor(separated(3, 1, 9), dtype=torch.float64, requires_grad=True)
    target = values(5, 1, 9)
    net.train(np.ones((1, 1), np.float32), target=target)
    functional.mse_loss(x + x.relu(), torch.tensor(target, dtype=torch.float64)).backward()
    np.testing.assert_allclose(
        net.parameter(state_name("x.b", "sum")), x.grad.numpy()[0], rtol=1e-5
    )
