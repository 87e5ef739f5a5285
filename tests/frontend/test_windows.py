"""Conv and the pools with any kernel, stride, padding, dilation, group: as onnxruntime has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.frontend.models import assert_same_network, model, node, saved, weights
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model

QUICK = settings(max_examples=60)
GROUPS = [(1, 2, 3), (2, 2, 4), (3, 1, 1), (4, 1, 2)]  # groups, inputs and outputs of each


@st.composite
def windows(draw, pool: bool):
    """(spatial sizes, attributes) of windows over one or two axes."""
    rank = draw(st.integers(1, 2))
    kernel = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    attrs = {
        "kernel_shape": kernel,
        "strides": draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)),
    }
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto == "NOTSET":
        limits = [min(size - 1, 2) if pool else 2 for size in kernel]
        attrs["pads"] = [draw(st.integers(0, limit)) for limit in limits * 2]
    else:
        attrs["auto_pad"] = auto
        if auto != "VALID":  # onnxruntime computes negative padding where a stride skips elements
            attrs["strides"] = [min(s, k) for s, k in zip(attrs["strides"], kernel, strict=True)]
    if auto in ("NOTSET", "VALID") and draw(st.booleans()):
        attrs["dilations"] = draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    return draw(st.lists(st.integers(1, 9), min_size=rank, max_size=rank)), attrs


def fits(space, attrs) -> bool:
    """Whether every window fits the padded input, and no dilated one misses the input."""
    rank = len(space)
    pads = attrs.get("pads", [0] * 2 * rank)
    dilations = attrs.get("dilations", [1] * rank)
    return all(
        (k - 1) * d < size + before + after
        for size, k, d, before, after in zip(
            space, attrs["kernel_shape"], dilations, pads[:rank], pads[rank:], strict=True
        )
    )


@QUICK
@given(windows(pool=False), st.sampled_from(GROUPS), st.data())
def test_conv(tmp_path, drawn, grouping, data):
    space, attrs = drawn
    assume("auto_pad" in attrs or fits(space, attrs))
    assume(attrs.get("auto_pad") != "VALID" or fits(space, attrs))
    groups, inputs, outputs = grouping
    held = {"w": weights(groups * outputs, inputs, *attrs["kernel_shape"])}
    if data.draw(st.booleans()):
        held["b"] = weights(groups * outputs)
    nodes = [node("Conv", ["x", *held], "y", group=groups, **attrs)]
    assert_same_network(saved(model(nodes, [1, groups * inputs, *space], held), tmp_path), seeds=1)


@QUICK
@given(windows(pool=True))
def test_max_pool(tmp_path, drawn):
    space, attrs = drawn
    made = model([node("MaxPool", ["x"], "y", **attrs)], [1, 2, *space], rank=2 + len(space))
    same_or_refused(saved(made, tmp_path), must=fits(space, attrs) and "dilations" not in attrs)


@QUICK
@given(windows(pool=True), st.integers(0, 1))
def test_average_pool(tmp_path, drawn, count_include_pad):
    space, attrs = drawn
    attrs["count_include_pad"] = count_include_pad
    made = model(
        [node("AveragePool", ["x"], "y", **attrs)], [1, 2, *space], opset=19, rank=2 + len(space)
    )
    same_or_refused(saved(made, tmp_path), must=fits(space, attrs) and "dilations" not in attrs)


@QUICK
@given(windows(pool=True), st.sampled_from(["MaxPool", "AveragePool"]), st.integers(0, 1))
def test_pools_in_ceil_mode(tmp_path, drawn, op, count):
    space, attrs = drawn
    attrs.pop("dilations", None)
    attrs |= {"ceil_mode": 1} | ({"count_include_pad": count} if op == "AveragePool" else {})
    made = model([node(op, ["x"], "y", **attrs)], [1, 2, *space], opset=22, rank=2 + len(space))
    same_or_refused(saved(made, tmp_path), must=fits(space, attrs))


def same_or_refused(path, must: bool) -> None:
    """Either the imported network is the same, or (unless it `must` be) a ModelError says why."""
    try:
        import_model(path)
    except ModelError:
        assert not must
    else:
        assert_same_network(path, seeds=1)


def test_ceil_mode_that_needs_windows_beyond_the_end_becomes_padding(tmp_path):
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}
    made = model([node("MaxPool", ["x"], "y", **attrs)], [1, 2, 7, 6])
    graph = assert_same_network(saved(made, tmp_path))
    assert graph.nodes[0].attrs["pads"] == (0, 0, 1, 0)
    assert graph.shape("y") == (1, 2, 4, 3)


@pytest.mark.parametrize(
    "op, attrs, word",
    [
        ("MaxPool", {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}, "padding"),
        ("AveragePool", {"kernel_shape": [2, 2], "dilations": [6, 1], "pads": [1, 0, 1, 0]},
         "nothing but padding"),
        ("MaxPool", {"kernel_shape": [1, 1], "strides": [3, 3], "ceil_mode": 1}, "beyond"),
    ],
)  # fmt: skip
def test_pools_that_cannot_be_exact_are_refused(tmp_path, op, attrs, word):
    made = model([node(op, ["x"], "y", "pool", **attrs)], [1, 2, 5, 5], opset=19, rank=4)
    with pytest.raises(ModelError, match=f"{op} 'pool': .*{word}"):
        import_model(saved(made, tmp_path))


def test_one_window_over_everything(tmp_path):
    made = model([node("AveragePool", ["x"], "y", kernel_shape=[4, 5])], [1, 3, 4, 5])
    graph = assert_same_network(saved(made, tmp_path))
    assert graph.nodes[0].attrs == {
        "kernel": (4, 5), "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1),
        "beyond": (0, 0), "count_include_pad": 0,
    }  # fmt: skip
    assert np.prod(graph.shape("y")) == 3
