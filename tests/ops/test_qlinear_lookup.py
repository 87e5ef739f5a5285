"""QLinearLookup: any function of one int8 value, its gradient as PyTorch's, by rows as at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.int8 import alone, compare, fake, in_flash, integers, quantizations, reals
from tests.ops.kernels import run, run_by_rows
from tests.ops.test_gradients import check, seeds
from tinyodl.memory.arena import plan_arena

FUNCTIONS = {
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "HardSwish": functional.hardswish,
    "Gelu": functional.gelu,
    "LeakyRelu": functional.leaky_relu,
}
shapes = st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 7), st.integers(1, 6))


def tables(function, x, y):
    """The output for each integer, and the derivative where it is not cut off."""
    real = torch.tensor((np.arange(-128, 128) - x.zero_point) * x.scale[0], requires_grad=True)
    made = fake(function(real), y)
    made.sum().backward()
    table = np.rint(made.detach().numpy() / y.scale[0]) + y.zero_point
    return [
        in_flash("table", table.astype(np.int8), y),
        in_flash("derivative", real.grad.numpy().astype(np.float32)),
    ]


@check
@pytest.mark.parametrize("function", FUNCTIONS)
@given(seed=seeds, shape=shapes, x=quantizations, y=quantizations)
def test_gradient(tmp_path, function, seed, shape, x, y):
    made = tables(FUNCTIONS[function], x, y)
    inputs = {"x": (reals(seed, x, *shape), x)}
    compare(tmp_path, "QLinearLookup", inputs, FUNCTIONS[function], y, {}, constants=made)


@check
@given(seed=seeds, shape=shapes, x=quantizations, y=quantizations)
def test_by_rows(tmp_path, seed, shape, x, y):
    table = integers(seed, 256)
    constants = [in_flash("table", table, y)]
    node, graph = alone("QLinearLookup", {"x": (shape, x)}, {}, y, constants)
    q = integers(seed + 1, *shape)
    found = run(node, graph, {"x": q}, tmp_path)["y"]
    np.testing.assert_array_equal(found, table[q.astype(int) + 128])
    rows = run_by_rows(node, graph, {"x": q}, tmp_path, np.random.default_rng(seed))
    np.testing.assert_array_equal(rows, found)
    offsets = plan_arena(graph).offsets
    assert offsets["y"] == offsets["x"]
