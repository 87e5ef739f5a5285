"""The int8 pools: as onnxruntime, their gradients as PyTorch's, by rows as at once."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.int8 import (
    alone,
    any_quantizations,
    compare,
    cut_off,
    integers,
    onnxruntime_output,
    quantizations,
    ranges,
    reals,
)
from tests.ops.kernels import run, run_by_rows
from tests.ops.test_gradients import check, seeds, small
from tinyodl.graph import Quantization
from tinyodl.ops.shared.quantization import bounds


@st.composite
def windows(draw):
    """The shape of x, and the attributes of a pool that fits it."""
    kernel, strides, dilations = (draw(st.tuples(small, small)) for _ in range(3))
    pads = tuple(min(draw(st.integers(0, 2)), kernel[i % 2] - 1) for i in range(4))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = [max(draw(st.integers(1, 9)), r) for r in reach]
    attrs = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    return (1, draw(st.integers(1, 3)), *size), attrs


def as_onnx(attrs):
    """Attributes of the IR as ONNX has them."""
    return {{"kernel": "kernel_shape"}.get(name, name): value for name, value in attrs.items()}


def padded(x, attrs, value):
    top, left, bottom, right = attrs["pads"]
    return functional.pad(x, (left, right, top, bottom), value=value)


def taps(x, attrs, value):
    """Windows (C, OH, OW, taps) of x (1, C, H, W), `value` where there is none."""
    one_map = padded(x, attrs, value).transpose(0, 1)
    unfolded = functional.unfold(
        one_map, attrs["kernel"], stride=attrs["strides"], dilation=attrs["dilations"]
    )
    height, width = (
        (n - (k - 1) * d - 1) // s + 1
        for n, k, d, s in zip(
            one_map.shape[2:], attrs["kernel"], attrs["dilations"], attrs["strides"], strict=True
        )
    )
    return unfolded.transpose(1, 2).reshape(x.shape[1], height, width, -1)


@check
@given(seed=seeds, over=windows(), q=any_quantizations)
def test_maximum(tmp_path, seed, over, q):
    shape, attrs = over
    x = integers(seed, *shape)
    node, graph = alone("QLinearMaxPool", {"x": (shape, q)}, attrs, q)
    found = run(node, graph, {"x": x}, tmp_path)["y"]
    expected = onnxruntime_output("MaxPool", {"x": (x, q)}, q, **as_onnx(attrs))
    np.testing.assert_array_equal(found, expected)
    rows = run_by_rows(node, graph, {"x": x}, tmp_path, np.random.default_rng(seed))
    np.testing.assert_array_equal(rows, found)


@check
@given(seed=seeds, over=windows(), q=quantizations)
def test_gradient_of_the_maximum(tmp_path, seed, over, q):
    """Of many equal values, the first maximum gets it."""
    shape, attrs = over
    few = (integers(seed, *shape, low=-2, high=1).astype(np.float32) - q.zero_point) * q.scale[0]

    def reference(x):
        return functional.max_pool2d(
            padded(x, attrs, -torch.inf), attrs["kernel"], attrs["strides"],
            dilation=attrs["dilations"],
        )  # fmt: skip

    compare(tmp_path, "QLinearMaxPool", {"x": (few, q)}, reference, q, attrs)


@check
@given(
    seed=seeds,
    over=windows(),
    x=any_quantizations,
    y=any_quantizations,
    limits=ranges,
    count_include_pad=st.integers(0, 1),
)
def test_average(tmp_path, seed, over, x, y, limits, count_include_pad):
    shape, attrs = over
    attrs = {**attrs, "count_include_pad": count_include_pad}
    own = {"factor": x.scale[0] / y.scale[0], **cut_off(bounds(y, *limits))}
    q = integers(seed, *shape)
    node, graph = alone("QLinearAveragePool", {"x": (shape, x)}, {**attrs, **own}, y)
    found = run(node, graph, {"x": q}, tmp_path)["y"]
    np.testing.assert_array_equal(found[0], formula(q, x, y, {**attrs, **own}))
    expected = onnxruntime_output("AveragePool", {"x": (q, x)}, y, **as_onnx(attrs))
    clamped = np.clip(expected, own["low"], own["high"]).astype(int)
    assert np.abs(found - clamped).max() <= 1
    rows = run_by_rows(node, graph, {"x": q}, tmp_path, np.random.default_rng(seed))
    np.testing.assert_array_equal(rows, found)


def formula(q, x, y, attrs):
    """The contract: integer sums, then float32, operation by operation."""
    real = torch.tensor(q.astype(np.float64) - x.zero_point)
    sums = taps(real, attrs, 0).sum(-1).numpy().astype(np.float32)
    counted = taps(torch.ones_like(real), attrs, attrs["count_include_pad"]).sum(-1).numpy()
    v = sums * np.float32(attrs["factor"]) / counted.astype(np.float32)
    return np.clip(np.rint(v) + y.zero_point, attrs["low"], attrs["high"]).astype(np.int8)


@check
@given(
    seed=seeds,
    size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    kernel=st.tuples(small, small),
    strides=st.tuples(small, small),
    pad=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    count_include_pad=st.booleans(),
    ceil_mode=st.booleans(),
    x=quantizations,
    y=quantizations,
    limits=ranges,
)
def test_gradient_of_the_average(
    tmp_path, seed, size, kernel, strides, pad, count_include_pad, ceil_mode, x, y, limits
):
    """What the last windows reach past the padding never counts, as PyTorch's ceil_mode has it."""
    pad = tuple(min(p, k // 2) for p, k in zip(pad, kernel, strict=True))

    def reference(x):
        return functional.avg_pool2d(x, kernel, strides, pad, ceil_mode, count_include_pad)

    beyond = []
    for n, k, s, p in zip(size, kernel, strides, pad, strict=True):
        past = -(n + 2 * p - k) % s if ceil_mode else 0
        beyond.append(past if n + 2 * p + past - k < n + p else 0)
    attrs = {
        "kernel": kernel,
        "strides": strides,
        "pads": (*pad, *pad),
        "dilations": (1, 1),
        "beyond": tuple(beyond),
        "count_include_pad": int(count_include_pad),
        "factor": x.scale[0] / y.scale[0],
        **cut_off(bounds(y, *limits)),
    }
    inputs = {"x": (reals(seed, x, 1, 2, *size), x)}
    compare(tmp_path, "QLinearAveragePool", inputs, reference, y, attrs, limits)


def test_the_mean_of_a_whole_map_by_rows(tmp_path):
    """One window over everything needs all rows, and frees them when it is done."""
    x, y = Quantization((0.25,), -3), Quantization((0.125,), 9)
    attrs = {
        "kernel": (7, 5),
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
        "count_include_pad": 0,
        "factor": 2.0,
        **cut_off(bounds(y)),
    }
    node, graph = alone("QLinearAveragePool", {"x": ((1, 4, 7, 5), x)}, attrs, y)
    q = integers(0, 1, 4, 7, 5, low=-60, high=60)
    found = run(node, graph, {"x": q}, tmp_path)["y"]
    means = (q.astype(np.float64) + 3).mean((2, 3))
    np.testing.assert_array_equal(found.reshape(1, 4), np.rint(means * 2) + 9)
    rows = run_by_rows(node, graph, {"x": q}, tmp_path, np.random.default_rng(0))
    np.testing.assert_array_equal(rows, found)
