"""Convolutions and dense layers that are larger than the kernels' tiles and strips."""

from __future__ import annotations

import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.test_gradients import check, compare, seeds, values

steps = st.integers(1, 2)


def convolution(tmp_path, seed, channels, filters, group, size, kernel, stride, dilation, pad):
    """Compare one with the same stride, dilation and padding on all sides."""
    reach = (kernel - 1) * dilation + 1
    size = [max(each, reach - 2 * pad) for each in size]
    inputs = {
        "x": values(seed, 1, channels, *size),
        "w": values(seed + 1, filters, channels // group, kernel, kernel),
        "b": values(seed + 2, filters),
    }

    def reference(x, w, b):
        return functional.conv2d(x, w, b, stride, pad, dilation, group)

    attrs = {
        "strides": (stride, stride),
        "pads": (pad,) * 4,
        "dilations": (dilation, dilation),
        "group": group,
    }
    compare(tmp_path, "Conv", inputs, reference, attrs, weights=("w", "b"))


@check
@given(
    seed=seeds,
    channels=st.integers(1, 9),
    filters=st.integers(1, 9),
    size=st.tuples(st.integers(1, 5), st.integers(1, 13)),
    kernel=st.integers(1, 5),
    stride=steps,
    dilation=steps,
    pad=st.integers(0, 3),
)
def test_more_filters_and_windows_than_a_tile_has(
    tmp_path, seed, channels, filters, size, kernel, stride, dilation, pad
):
    convolution(tmp_path, seed, channels, filters, 1, size, kernel, stride, dilation, pad)


@check
@given(
    seed=seeds,
    channels=st.integers(1, 3),
    size=st.tuples(st.integers(1, 5), st.integers(1, 40)),
    kernel=st.sampled_from([1, 3, 5, 7, 8]),
    stride=steps,
    dilation=st.integers(1, 3),
    pad=st.integers(0, 7),
)
def test_a_depthwise_convolution_of_several_strips(
    tmp_path, seed, channels, size, kernel, stride, dilation, pad
):
    convolution(tmp_path, seed, channels, channels, channels, size, kernel, stride, dilation, pad)


@check
@given(seed=seeds, channels=st.integers(1, 9), filters=st.integers(1, 9), size=st.integers(1, 7))
def test_a_pointwise_convolution(tmp_path, seed, channels, filters, size):
    convolution(tmp_path, seed, channels, filters, 1, (size, size), 1, 1, 1, 0)


@check
@given(
    seed=seeds,
    rows=st.sampled_from([1, 5]),
    n=st.integers(1, 19),
    k=st.integers(1, 11),
)
def test_a_dense_layer_with_more_outputs_than_lanes(tmp_path, seed, rows, n, k):
    inputs = {
        "x": values(seed, 1, rows, k),
        "w": values(seed + 1, n, k),
        "b": values(seed + 2, n),
    }

    def reference(x, w, b):
        return functional.linear(x, w, b)

    compare(tmp_path, "Gemm", inputs, reference, weights=("w", "b"))
