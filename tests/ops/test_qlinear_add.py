"""QLinearAdd: as onnxruntime, its gradient as PyTorch's fake_quantize, by rows as at once."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.int8 import (
    alone,
    any_quantizations,
    compare,
    cut_off,
    in_flash,
    integers,
    onnxruntime_output,
    quantizations,
    ranges,
    reals,
)
from tests.ops.kernels import run, run_by_rows
from tests.ops.test_gradients import check, seeds
from tinyodl.graph import Quantization
from tinyodl.memory.arena import plan_arena
from tinyodl.ops.shared.quantization import Bounds, bounds

shapes = st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 7), st.integers(1, 6))


def attributes(a, b, y, of: Bounds):
    factors = {"a_factor": a.scale[0] / y.scale[0], "b_factor": b.scale[0] / y.scale[0]}
    return factors | cut_off(of)


def formula(a, b, of_a, of_b, of_y, attrs):
    """The contract in float32, operation by operation."""
    f = np.float32
    left = (a.astype(np.int32) - of_a.zero_point).astype(f) * f(attrs["a_factor"])
    right = (b.astype(np.int32) - of_b.zero_point).astype(f) * f(attrs["b_factor"])
    q = np.rint(left + right) + of_y.zero_point
    return np.clip(q, attrs["low"], attrs["high"]).astype(np.int8)


@check
@given(
    seed=seeds,
    shape=shapes,
    a=any_quantizations,
    b=any_quantizations,
    y=any_quantizations,
    limits=ranges,
)
def test_the_sum(tmp_path, seed, shape, a, b, y, limits):
    given_ = {"a": integers(seed, *shape), "b": integers(seed + 1, *shape)}
    attrs = attributes(a, b, y, bounds(y, *limits))
    node, graph = alone("QLinearAdd", {"a": (shape, a), "b": (shape, b)}, attrs, y)
    found = run(node, graph, given_, tmp_path)["y"]
    np.testing.assert_array_equal(found, formula(*given_.values(), a, b, y, attrs))
    rows = run_by_rows(node, graph, given_, tmp_path, np.random.default_rng(seed))
    np.testing.assert_array_equal(rows, found)
    expected = onnxruntime_output("Add", {"a": (given_["a"], a), "b": (given_["b"], b)}, y)
    clamped = np.clip(expected, attrs["low"], attrs["high"]).astype(int)
    assert np.abs(found - clamped).max() <= 1


@check
@given(seed=seeds, shape=shapes, a=quantizations, b=quantizations, y=quantizations, limits=ranges)
def test_gradient(tmp_path, seed, shape, a, b, y, limits):
    inputs = {"a": (reals(seed, a, *shape), a), "b": (reals(seed + 1, b, *shape), b)}
    attrs = attributes(a, b, y, bounds(y, *limits))
    compare(tmp_path, "QLinearAdd", inputs, lambda a, b: a + b, y, attrs, limits)


def test_one_tensor_may_be_both_operands(tmp_path):
    q = Quantization((0.5,), 3)
    attrs = attributes(q, q, q, bounds(q))
    given_ = {"x": (reals(1, q, 1, 2, 3, 4), q)}
    compare(tmp_path, "QLinearAdd", given_, lambda x: x + x, q, attrs, reads=("x.q", "x.q"))


def test_a_constant_operand_is_read_where_it_lies(tmp_path):
    a, b, y = (Quantization((s,), z) for s, z in ((0.5, -7), (0.25, 0), (1.0, 5)))
    shape = (1, 2, 5, 4)
    constant = in_flash("b", integers(9, *shape), b)
    attrs = attributes(a, b, y, bounds(y))
    real = torch.tensor(constant.data.astype(np.float64)) * 0.25
    inputs = {"a": (reals(1, a, *shape), a)}
    compare(tmp_path, "QLinearAdd", inputs, lambda a: a + real, y, attrs, constants=[constant])
    node, graph = alone("QLinearAdd", {"a": (shape, a)}, attrs, y, [constant])
    x = {"a": integers(1, *shape)}
    rows = run_by_rows(node, graph, x, tmp_path, np.random.default_rng(2))
    np.testing.assert_array_equal(rows, run(node, graph, x, tmp_path)["y"])


def test_the_sum_may_take_the_place_of_an_operand():
    q = Quantization((0.5,), 3)
    shape = (1, 2, 5, 4)
    attrs = attributes(q, q, q, bounds(q))
    _, graph = alone("QLinearAdd", {"a": (shape, q), "b": (shape, q)}, attrs, q)
    offsets = plan_arena(graph).offsets
    assert offsets["y"] in (offsets["a"], offsets["b"])
