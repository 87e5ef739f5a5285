"""Normalisations, forward and backward, against PyTorch in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from tests.frontend.models import model, norm, norm_node
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import check, compare, seeds, small, values

EPSILON = 1e-3


def drawn(seed, shape, channels, bias):
    return {
        "x": values(seed, *shape) + 0.5,
        "scale": values(seed + 1, channels) + 1,
        "bias": values(seed + 2, channels) if bias else None,
    }


def compare_normalization(folder, inputs, reference, rows, statistics, used=(0,)):
    groups, channels, positions = rows
    attrs = {
        "groups": groups,
        "channels": channels,
        "positions": positions,
        "epsilon": EPSILON,
        "statistics": statistics,
    }
    weights = tuple(name for name in ("scale", "bias") if inputs[name] is not None)
    compare(
        folder,
        "Normalization",
        inputs,
        reference,
        attrs,
        weights,
        used=used,
        terms=lambda gy: gy.abs().sum().item() / EPSILON**0.5,
    )


@check
@given(seed=seeds, rows=small, size=st.integers(2, 9), bias=st.booleans())
def test_layer_normalization(tmp_path, seed, rows, size, bias):
    def reference(x, scale, bias=None):
        return functional.layer_norm(x, (size,), scale, bias, EPSILON)

    inputs = drawn(seed, (1, rows, size), size, bias)
    compare_normalization(tmp_path, inputs, reference, (1, size, 1), (1, rows, 1))


@check
@given(seed=seeds, rows=small, size=st.integers(2, 9))
def test_the_mean_and_the_deviation_pass_gradients(tmp_path, seed, rows, size):
    def reference(x, scale, bias):
        mean = x.mean(-1)
        rstd = (x.var(-1, unbiased=False) + EPSILON) ** -0.5
        y = functional.layer_norm(x, (size,), scale, bias, EPSILON)
        return torch.cat([part.reshape(1, -1) for part in (y, mean, rstd)], 1)

    inputs = drawn(seed, (1, rows, size), size, bias=True)
    compare_normalization(tmp_path, inputs, reference, (1, size, 1), (1, rows, 1), used=(0, 1, 2))


@check
@given(seed=seeds, batch=small, channels=small, size=st.tuples(small, st.integers(2, 6)))
def test_instance_normalization(tmp_path, seed, batch, channels, size):
    def reference(x, scale, bias):
        return functional.instance_norm(x, weight=scale, bias=bias, eps=EPSILON)

    inputs = drawn(seed, (batch, channels, *size), channels, bias=True)
    rows = (channels, 1, size[0] * size[1])
    compare_normalization(tmp_path, inputs, reference, rows, (batch, channels))


@check
@given(seed=seeds, batch=small, groups=small, each=small, size=st.integers(2, 6))
def test_group_normalization(tmp_path, seed, batch, groups, each, size):
    def reference(x, scale, bias):
        return functional.group_norm(x, groups, scale, bias, EPSILON)

    inputs = drawn(seed, (batch, groups * each, size), groups * each, bias=True)
    compare_normalization(tmp_path, inputs, reference, (groups, each, size), (batch, groups))


@check
@given(seed=seeds, batch=small, channels=small, size=st.tuples(small, small), learns=st.booleans())
def test_batch_normalization_with_fixed_statistics(tmp_path, seed, batch, channels, size, learns):
    variance = np.abs(values(seed + 4, channels)) + 0.1
    inputs = drawn(seed, (batch, channels, *size), channels, bias=True)
    inputs["mean"] = values(seed + 3, channels)
    inputs["rstd"] = 1 / np.sqrt(variance)

    def reference(x, scale, bias, mean, rstd):
        return functional.batch_norm(x, mean, rstd**-2, scale, bias, training=False, eps=0.0)

    weights = ("scale", "bias") if learns else ()
    constants = ("mean", "rstd") if learns else ("scale", "bias", "mean", "rstd")
    compare(
        tmp_path,
        "BatchNormalization",
        inputs,
        reference,
        weights=weights,
        constants=constants,
        terms=lambda gy: gy.abs().sum().item(),
    )


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization_is_imported(tmp_path, axis, bias):
    shape = [3, 4, 5][axis if axis < 0 else axis - 1 :]
    held = {"scale": values(1, *shape), **({"bias": values(2, *shape)} if bias else {})}
    made = helper.make_node("LayerNormalization", ["x", *held], ["y"], axis=axis, epsilon=0.1)
    same_as_onnxruntime(model([made], [1, 3, 4, 5], held), tmp_path)


def test_the_statistics_of_a_layer_normalization_can_be_read(tmp_path):
    held = {"scale": values(1, 5), "bias": values(2, 5)}
    for outputs in (["n", "y"], ["n", "m", "y"]):
        made = helper.make_node("LayerNormalization", ["x", *held], outputs)
        same_as_onnxruntime(model([made], [1, 4, 5], held), tmp_path / str(len(outputs)))


@pytest.mark.parametrize("shape", [[1, 3, 7], [1, 3, 4, 5]])
def test_instance_normalization_is_imported(tmp_path, shape):
    held = {"scale": values(1, 3), "bias": values(2, 3)}
    made = helper.make_node("InstanceNormalization", ["x", *held], ["y"], epsilon=0.1)
    same_as_onnxruntime(model([made], shape, held), tmp_path)


def test_group_normalization_is_imported(tmp_path):
    held = {"scale": values(1, 6), "bias": values(2, 6)}
    made = helper.make_node("GroupNormalization", ["x", *held], ["y"], num_groups=2)
    same_as_onnxruntime(model([made], [1, 6, 5], held, opset=21, rank=3), tmp_path)


@pytest.mark.parametrize("shape", [[1, 3], [1, 3, 7], [1, 3, 4, 5]])
def test_batch_normalization_behind_no_layer_stays_a_node(tmp_path, shape):
    graph = same_as_onnxruntime(model([norm_node("x", "y")], shape, norm(3)), tmp_path)
    assert [node.op for node in graph.nodes] == ["BatchNormalization"]
