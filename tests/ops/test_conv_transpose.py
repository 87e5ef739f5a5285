"""ConvTranspose: against PyTorch in float64, and imported as onnxruntime."""

from __future__ import annotations

import pytest
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st

from tests.frontend.models import model, node, saved, weights
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import check, compare, seeds, small, values
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model


@check
@given(
    seed=seeds,
    group=small,
    per_group=st.tuples(small, small),
    space=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(small, small),
    strides=st.tuples(small, small),
    dilations=st.tuples(st.integers(1, 2), small),
    crop=st.tuples(*[st.integers(0, 2)] * 4),
    extra=st.tuples(st.integers(0, 1), st.integers(0, 2)),
    bias=st.booleans(),
)
def test_conv_transpose(
    tmp_path, seed, group, per_group, space, kernel, strides, dilations, crop, extra, bias
):
    """Cropped differently on each side, and grown past the last tap by up to stride - 1."""
    extra = tuple(min(e, s - 1) for e, s in zip(extra, strides, strict=True))
    full = [
        (n - 1) * s + (k - 1) * d + 1 + e
        for n, k, s, d, e in zip(space, kernel, strides, dilations, extra, strict=True)
    ]
    top, left = (min(c, n - 1) for c, n in zip(crop[:2], full, strict=True))
    bottom, right = min(crop[2], full[0] - 1 - top), min(crop[3], full[1] - 1 - left)
    inputs = {
        "x": values(seed, 1, group * per_group[0], *space),
        "w": values(seed + 1, group * per_group[0], per_group[1], *kernel),
    }
    if bias:
        inputs["b"] = values(seed + 2, group * per_group[1])

    def reference(x, w, b=None):
        y = functional.conv_transpose2d(x, w, b, strides, 0, extra, group, dilations)
        return y[:, :, top : full[0] - bottom, left : full[1] - right]

    attrs = {
        "strides": strides,
        "pads": (top, left, bottom, right),
        "dilations": dilations,
        "group": group,
        "size": (full[0] - top - bottom, full[1] - left - right),
    }
    compare(tmp_path, "ConvTranspose", inputs, reference, attrs, weights=("w", "b"))


# Importers against onnxruntime.


def transposed(shape, weight, *, bias=0, **attrs):
    held = {"w": weights(*weight)}
    if bias:
        held["b"] = weights(bias)
    return model([node("ConvTranspose", ["x", *held], "y", "n", **attrs)], shape, held)


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"strides": [2, 3], "output_padding": [1, 2]},
        {"strides": [2, 2], "pads": [1, 0, 2, 1], "kernel_shape": [3, 2]},
        {"dilations": [2, 3], "pads": [2, 1, 0, 2]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [4, 1], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 1], "auto_pad": "VALID", "output_padding": [1, 0]},
        {"strides": [2, 2], "output_shape": [5, 6]},
        {"strides": [2, 2], "output_shape": [5, 6], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "output_shape": [5, 6], "auto_pad": "SAME_LOWER"},
        {"strides": [3, 3], "output_shape": [10, 11]},
    ],
)
def test_conv_transpose_is_imported(tmp_path, attrs):
    made = transposed([1, 2, 3, 4], [2, 3, 3, 2], bias=3, **attrs)
    same_as_onnxruntime(made, tmp_path)


@pytest.mark.parametrize("group, weight", [(2, (4, 3, 3)), (4, (4, 1, 2)), (1, (4, 2, 1))])
def test_groups_and_one_axis(tmp_path, group, weight):
    made = transposed([1, 4, 5], weight, bias=group * weight[1], group=group, strides=[2])
    same_as_onnxruntime(made, tmp_path)


@pytest.mark.parametrize(
    "attrs, words",
    [
        ({"strides": [2, 2], "output_padding": [2, 0]}, "output_padding is"),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2], "output_padding": [1, 0]}, "one of the two"),
        ({"pads": [-1, 0, 0, 0]}, "negative"),
        ({"group": 3}, "group"),
    ],
)
def test_what_cannot_be_exact_is_refused(tmp_path, attrs, words):
    made = transposed([1, 2, 3, 4], [2, 3, 3, 2], **attrs)
    with pytest.raises(ModelError, match=f"(?s){words}"):
        import_model(saved(made, tmp_path))
