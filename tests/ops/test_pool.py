"""MaxPool, AveragePool, GlobalMaxPool: against PyTorch in float64, and imported as onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st

from tests.frontend.models import model, node
from tests.hostnet import HostNet
from tests.ops.graphs import PLAN, around
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import check, compare, seeds, separated, small, values
from tinyodl.learning.tensors import state_name


@check
@given(
    seed=seeds,
    maps=st.tuples(st.integers(1, 2), small),
    size=st.tuples(st.integers(2, 8), st.integers(2, 8)),
    kernel=st.tuples(st.integers(1, 2), small),
    strides=st.tuples(small, small),
    dilations=st.tuples(small, st.integers(1, 2)),
    pad=st.tuples(*[st.integers(0, 1)] * 4),
)
def test_max_pool(tmp_path, seed, maps, size, kernel, strides, dilations, pad):
    top, left, bottom, right = (p if kernel[i % 2] > p else 0 for i, p in enumerate(pad))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = (max(size[0], reach[0]), max(size[1], reach[1]))

    def reference(x):
        padded = functional.pad(x, (left, right, top, bottom), value=-torch.inf)
        return functional.max_pool2d(padded, kernel, strides, dilation=dilations)

    attrs = {
        "kernel": kernel,
        "strides": strides,
        "pads": (top, left, bottom, right),
        "dilations": dilations,
    }
    compare(tmp_path, "MaxPool", {"x": separated(seed, *maps, *size)}, reference, attrs)


@check
@given(
    seed=seeds,
    maps=st.tuples(st.integers(1, 2), small),
    size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    kernel=st.tuples(small, small),
    strides=st.tuples(small, small),
    pad=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    count_include_pad=st.booleans(),
    ceil_mode=st.booleans(),
)
def test_average_pool(
    tmp_path, seed, maps, size, kernel, strides, pad, count_include_pad, ceil_mode
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
    }
    compare(tmp_path, "AveragePool", {"x": values(seed, *maps, *size)}, reference, attrs)


@check
@given(
    seed=seeds,
    channels=small,
    size=st.integers(5, 9),
    kernel=small,
    dilation=small,
    pad=st.integers(0, 1),
    count_include_pad=st.booleans(),
)
def test_dilated_average_pool(
    tmp_path, seed, channels, size, kernel, dilation, pad, count_include_pad
):
    """As a depthwise convolution with equal weights, divided by the taps that count."""
    pad = min(pad, kernel - 1)
    size = max(size, (kernel - 1) * dilation + 1)

    def reference(x):
        taps = torch.ones(channels, 1, 1, kernel, dtype=torch.float64)
        ones = torch.ones_like(x)
        if count_include_pad:
            ones = functional.pad(ones, (pad, pad), value=1.0)
        total, counted = (
            functional.conv2d(functional.pad(v, (p, p)), taps, dilation=dilation, groups=channels)
            for v, p in ((x, pad), (ones, 0 if count_include_pad else pad))
        )
        return total / counted

    attrs = {
        "kernel": (1, kernel),
        "strides": (1, 1),
        "pads": (0, pad, 0, pad),
        "dilations": (1, dilation),
        "count_include_pad": int(count_include_pad),
    }
    compare(tmp_path, "AveragePool", {"x": values(seed, 1, channels, 1, size)}, reference, attrs)


def test_the_first_of_equal_maxima_gets_the_gradient(tmp_path):
    """As PyTorch's max_pool2d and adaptive_max_pool2d."""
    x = np.array([[[[1, 3, 3], [0, 3, 2]]]], np.float32)
    attrs = {"kernel": (2, 3), "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    graph, plan = around("MaxPool", {"x": x}, attrs, (), PLAN)
    net = HostNet(graph, plan, tmp_path)
    net.train(np.ones((1, 1), np.float32), target=np.zeros((1, 1, 1, 1), np.float32))
    leaf = torch.tensor(x, requires_grad=True)
    functional.adaptive_max_pool2d(leaf, 1).square().mean().backward()
    assert net.parameter(state_name("x.b", "sum")).tolist() == leaf.grad.flatten().tolist()


# Importers against onnxruntime; tests/frontend/test_windows.py draws many more windows.


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("shape", [[1, 2, 7], [1, 2, 6, 7]])
@pytest.mark.parametrize(
    "windows",
    [
        {},
        {"strides": 2, "pads": 1},
        {"strides": 2, "ceil_mode": 1},
        {"strides": 2, "auto_pad": "SAME_UPPER"},
        {"strides": 2, "auto_pad": "SAME_LOWER"},
        {"strides": 2, "auto_pad": "VALID"},
        {"dilations": 2, "pads": 1},
    ],
)
def test_pools_are_imported(tmp_path, op, shape, windows):
    rank = len(shape) - 2
    counts = {"strides": rank, "dilations": rank, "pads": 2 * rank}
    attrs = {n: [v] * counts[n] if n in counts else v for n, v in windows.items()}
    made = model([node(op, ["x"], "y", kernel_shape=[3] * rank, **attrs)], shape, opset=19)
    same_as_onnxruntime(made, tmp_path)


@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("kernel, stride, size", [(2, 2, 6), (3, 2, 6), (3, 3, 5), (2, 3, 5)])
def test_the_mean_over_windows_that_reach_past_the_padding(
    tmp_path, count_include_pad, kernel, stride, size
):
    attrs = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [1] * 4,
             "ceil_mode": 1, "count_include_pad": count_include_pad}  # fmt: skip
    made = model([node("AveragePool", ["x"], "y", **attrs)], [1, 2, size, size], opset=22)
    same_as_onnxruntime(made, tmp_path)


@pytest.mark.parametrize("shape", [[1, 3, 7], [1, 3, 4, 5]])
def test_global_max_pool_is_imported(tmp_path, shape):
    graph = same_as_onnxruntime(model([node("GlobalMaxPool", ["x"], "y")], shape), tmp_path)
    assert "MaxPool" in [n.op for n in graph.nodes]
