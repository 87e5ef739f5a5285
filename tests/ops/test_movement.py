"""Operators that only move elements: Transpose, Slice, Concat, Split, Expand, Gather, Pad."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from tests.frontend.models import model, node, saved, weights
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import check, compare, seeds, values
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model
from tinyodl.ops.shared import Unsupported
from tinyodl.ops.shared.strides import Strided, check_axes, copy_call, merged_axes, whole

sizes = st.lists(st.integers(1, 4), min_size=1, max_size=6)
_numbers = itertools.count()


def test_axes_that_lie_behind_each_other_are_walked_as_one():
    assert merged_axes((2, 3, 4), (12, 4, 1), (12, 4, 1)) == [(24, 1, 1)]
    assert merged_axes((2, 1, 4), (4, 4, 1), (16, 4, 1)) == [(2, 4, 16), (4, 1, 1)]


def test_a_copy_of_six_axes_has_three_outer_and_three_inner_ones():
    perm = (3, 1, 5, 0, 4, 2)
    mixed = Strided(0, tuple(whole((2, 3, 2, 3, 2, 3)).strides[axis] for axis in perm))
    sizes = (3, 3, 3, 2, 2, 2)
    (struct, *_) = copy_call(sizes, "x", mixed, "y", whole(sizes)).arguments
    fields = dict(struct.fields)
    assert (fields["outer"], fields["inner"]) == ((3, 3, 3), (2, 2, 2))


def test_seven_axes_are_too_many():
    check_axes((2,) * 6 + (1,) * 3)
    with pytest.raises(Unsupported):
        check_axes((2,) * 7)


@check
@given(seed=seeds, shape=sizes, data=st.data())
def test_transpose(tmp_path, seed, shape, data):
    perm = tuple(data.draw(st.permutations(range(len(shape)))))
    inputs = {"x": values(seed, *shape)}
    compare(tmp_path, "Transpose", inputs, lambda x: x.permute(perm), {"perm": perm})


@check
@given(seed=seeds, shape=sizes, data=st.data())
def test_slice(tmp_path, seed, shape, data):
    starts, steps, kept = [], [], []
    for size in shape:
        start = data.draw(st.integers(0, size - 1))
        step = data.draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        most = (size - 1 - start if step > 0 else start) // abs(step) + 1
        starts, steps = [*starts, start], [*steps, step]
        kept.append(data.draw(st.integers(1, most)))

    def reference(x):
        for axis, (start, step, count) in enumerate(zip(starts, steps, kept, strict=True)):
            x = x.index_select(axis, torch.tensor([start + i * step for i in range(count)]))
        return x

    attrs = {"starts": tuple(starts), "steps": tuple(steps), "sizes": tuple(kept)}
    compare(tmp_path, "Slice", {"x": values(seed, *shape)}, reference, attrs)


@check
@given(seed=seeds, shape=sizes, parts=st.lists(st.integers(1, 4), min_size=2, max_size=4),
       data=st.data())  # fmt: skip
def test_concat(tmp_path, seed, shape, parts, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    inputs = {
        f"x{i}": values(seed + i, *shape[:axis], size, *shape[axis + 1 :])
        for i, size in enumerate(parts)
    }
    compare(
        tmp_path, "Concat", inputs, lambda **xs: torch.cat(list(xs.values()), axis), {"axis": axis}
    )


@check
@given(seed=seeds, shape=sizes, parts=st.lists(st.integers(1, 4), min_size=2, max_size=4),
       data=st.data())  # fmt: skip
def test_split(tmp_path, seed, shape, parts, data):
    """Whichever outputs the loss depends on; the others add zeros to the gradient."""
    axis = data.draw(st.integers(0, len(shape) - 1))
    shape[axis] = sum(parts)
    indices = st.lists(st.integers(0, len(parts) - 1), min_size=1, unique=True)
    used = tuple(sorted(data.draw(indices)))

    def reference(x):
        outputs = [x.split(parts, axis)[i] for i in used]
        return outputs[0] if len(used) == 1 else torch.cat([y.flatten() for y in outputs])[None]

    attrs = {"axis": axis, "sizes": tuple(parts)}
    compare(tmp_path, "Split", {"x": values(seed, *shape)}, reference, attrs, used=used)


@check
@given(seed=seeds, shape=sizes, data=st.data())
def test_expand(tmp_path, seed, shape, data):
    wide = tuple(size if size > 1 else data.draw(st.integers(1, 3)) for size in shape)
    compare(tmp_path, "Expand", {"x": values(seed, *shape)}, lambda x: x.expand(wide) * 1.0,
            {"shape": wide})  # fmt: skip


@check
@given(seed=seeds, shape=sizes, data=st.data())
def test_gather(tmp_path, seed, shape, data):
    """An index may come several times: then its gradients are added."""
    axis = data.draw(st.integers(0, len(shape) - 1))
    index = st.integers(0, shape[axis] - 1)
    indices = tuple(data.draw(st.lists(index, min_size=1, max_size=6)))

    def reference(x):
        return x.index_select(axis, torch.tensor(indices))

    attrs = {"axis": axis, "indices": indices}
    compare(tmp_path, "Gather", {"x": values(seed, *shape)}, reference, attrs)


@check
@given(seed=seeds, shape=sizes, value=st.sampled_from([0.0, -1.5]), data=st.data())
def test_pad(tmp_path, seed, shape, value, data):
    """Negative pads crop, also more than all of the input when the other end grows."""
    begins = [data.draw(st.integers(-size, 3)) for size in shape]
    ends = [data.draw(st.integers(1 - n - b, 4)) for n, b in zip(shape, begins, strict=True)]

    def reference(x):
        pairs = reversed(list(zip(begins, ends, strict=True)))
        return torch.nn.functional.pad(x, [pad for pair in pairs for pad in pair], value=value)

    def shifted(x):
        """Cropping beyond the input, which PyTorch refuses, as a sum of placed elements."""
        y = x
        for axis, (b, e) in enumerate(zip(begins, ends, strict=True)):
            n = y.shape[axis]
            places = [i - b if 0 <= i - b < n else n for i in range(n + b + e)]
            y = torch.cat([y, torch.full_like(y.narrow(axis, 0, 1), value)], axis)
            y = y.index_select(axis, torch.tensor(places))
        return y

    attrs = {"pads": (*begins, *ends), "value": value}
    inside = all(min(b, e) > -n for n, b, e in zip(shape, begins, ends, strict=True))
    inputs = {"x": values(seed, *shape)}
    compare(tmp_path, "Pad", inputs, reference if inside else shifted, attrs)


# Importers against onnxruntime.


def shaped(nodes, shape, constants=None, opset=17, rank=None):
    """A model whose nodes see `v` in this shape; its input x has a batch of 1 in front."""
    view = node("Reshape", ["x", "v.shape"], "v", "view")
    constants = {"v.shape": int64(*shape)} | (constants or {})
    return model([view, *nodes], [1, *shape], constants, opset, rank=rank)


def same(tmp_path, op, shape, constants=None, *, opset=17, optimised=None, **attrs):
    nodes = [node(op, ["v", *(constants or {})], "y", "n", **attrs)]
    made = shaped(nodes, shape, constants, opset)
    return same_as_onnxruntime(made, tmp_path, optimised=optimised)


def int64(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize("perm", [None, *itertools.permutations(range(3)), (1, 0, 3, 2)])
def test_transpose_is_imported(tmp_path, perm):
    """(2, 0, 1) is one of the copies that GCC 12 dropped; see `firmware.C_FLAGS`."""
    attrs = {} if perm is None else {"perm": perm}
    same(tmp_path, "Transpose", [2, 3, 4, 2][: len(perm or (0, 1, 2))], optimised=True, **attrs)


def test_a_transpose_that_moves_nothing_is_a_view(tmp_path):
    graph = same(tmp_path, "Transpose", [1, 3, 1, 4], perm=[0, 2, 1, 3])
    assert {n.op for n in graph.nodes} == {"Reshape"}


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("opset", [11, 13])
def test_depth_to_space_is_imported(tmp_path, mode, opset):
    same(tmp_path, "DepthToSpace", [1, 12, 2, 3], blocksize=2, mode=mode, opset=opset)


def test_space_to_depth_is_imported(tmp_path):
    same(tmp_path, "SpaceToDepth", [2, 3, 4, 6], blocksize=2)


bound = st.sampled_from([-(2**63), -20, -5, -2, -1, 0, 1, 3, 4, 5, 20, 2**63 - 1])


@check
@given(shape=st.lists(st.integers(3, 6), min_size=1, max_size=4), opset=st.sampled_from([11, 13]),
       data=st.data())  # fmt: skip
def test_slice_is_imported(tmp_path, shape, opset, data):
    """Any bounds, in front of the input and behind it, and any steps."""
    axes = data.draw(st.lists(st.sampled_from(range(len(shape))), min_size=1, unique=True))
    starts, ends, steps = [], [], []
    for axis in axes:
        step = data.draw(st.sampled_from([1, 2, -1, -3]))
        start, end = data.draw(bound), data.draw(bound)
        if not len(range(shape[axis])[start:end:step]):
            start, end = (0, shape[axis]) if step > 0 else (-1, -(2**63))
        starts, ends, steps = [*starts, start], [*ends, end], [*steps, step]
    axes = [axis - len(shape) if data.draw(st.booleans()) else axis for axis in axes]
    held = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    held = {name: int64(*numbers) for name, numbers in held.items()}
    made = shaped([node("Slice", ["v", *held], "y", "n")], shape, held, opset, len(shape))
    same_as_onnxruntime(made, tmp_path / str(next(_numbers)))


def test_a_slice_of_nothing_is_refused(tmp_path):
    held = {"starts": int64(2), "ends": int64(2)}
    made = shaped([node("Slice", ["v", *held], "y", "n")], [4], held, rank=1)
    with pytest.raises(ModelError, match="0"):
        import_model(saved(made, tmp_path))


def test_slice_without_axes_and_steps(tmp_path):
    same(tmp_path, "Slice", [4, 5, 3], {"starts": int64(1, 0), "ends": int64(3, -1)})


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat_with_a_constant_and_one_input_twice(tmp_path, axis):
    constants = {"c": weights(2, 2, 2)}
    nodes = [node("Concat", ["v", "c", "v"], "y", axis=axis)]
    same_as_onnxruntime(shaped(nodes, [2, 2, 2], constants), tmp_path)


def _split(inputs, outputs, constants, opset, **attrs):
    """Split, then the parts weighed and added so that one output shows them all."""
    parts = [f"p{i}" for i in range(outputs)]
    nodes = [helper.make_node("Split", inputs, parts, "n", **attrs),
             node("Concat", [*reversed(parts)], "y", axis=attrs.get("axis", 0))]  # fmt: skip
    return shaped(nodes, [6, 7], constants, opset)


@pytest.mark.parametrize(
    "outputs, sizes, opset, attrs",
    [
        (2, None, 11, {}),
        (3, None, 13, {"axis": -2}),
        (2, None, 11, {"axis": 1, "split": [3, 4]}),
        (3, int64(1, 4, 2), 13, {"axis": 1}),
        (3, int64(1, 4, 2), 18, {"axis": -1}),
        (3, None, 18, {"axis": 1, "num_outputs": 3}),
        (1, None, 18, {"axis": 1, "num_outputs": 1}),
    ],
)
def test_split_is_imported(tmp_path, outputs, sizes, opset, attrs):
    constants = {} if sizes is None else {"sizes": sizes}
    same_as_onnxruntime(_split(["v", *constants], outputs, constants, opset, **attrs), tmp_path)


def test_a_part_that_nobody_reads(tmp_path):
    nodes = [helper.make_node("Split", ["x"], ["y", "unread"], "n", axis=1)]
    same_as_onnxruntime(model(nodes, [1, 6]), tmp_path)


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (2, 3, 4), (2, 1, 1, 1)])
def test_expand_is_imported(tmp_path, shape):
    same(tmp_path, "Expand", [3, 1], {"shape": int64(*shape)})


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 1, 3), (1, 4, 2)])
def test_tile_is_imported(tmp_path, repeats):
    same(tmp_path, "Tile", [2, 1, 3], {"repeats": int64(*repeats)})


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [2, -1, [0], [1, 1], [0, 2, -2], [2, 1, 0], [[0, 1], [2, 2]]])
def test_gather_is_imported(tmp_path, axis, indices):
    same(tmp_path, "Gather", [3, 4, 3], {"i": np.array(indices, np.int64)}, axis=axis)


def test_gather_of_an_index_that_does_not_exist_is_refused(tmp_path):
    made = shaped([node("Gather", ["v", "i"], "y", "n")], [3, 4], {"i": int64(3)})
    with pytest.raises(ModelError, match="Gather 'n': its indices go from 3 to 3"):
        import_model(saved(made, tmp_path))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", [(0, 1, 2, 0), (2, 2, 3, 1), (0, 0, 0, 0), (-1, 2, 0, -2)])
@pytest.mark.parametrize("opset", [11, 18])
def test_pad_is_imported(tmp_path, mode, pads, opset):
    if mode == "reflect" and min(pads) < 0:
        pads = tuple(map(abs, pads))  # onnxruntime reflects elements that it has cropped
    constants = {"pads": int64(*pads)}
    if mode == "constant":
        constants["value"] = np.float32(1.5)
    same(tmp_path, "Pad", [4, 5], constants, opset=opset, mode=mode)


def test_pad_of_some_axes(tmp_path):
    constants = {"pads": int64(1, 0, 2, 3), "axes": int64(-1, 0)}
    nodes = [node("Pad", ["v", "pads", "", "axes"], "y", "n")]
    same_as_onnxruntime(shaped(nodes, [2, 3, 4], constants, 18), tmp_path)


def test_pad_wraps_around(tmp_path):
    same(tmp_path, "Pad", [2, 3], {"pads": int64(1, 2, 1, 3)}, opset=19, mode="wrap")


def test_padding_with_minus_infinity_before_a_maximum(tmp_path):
    constants = {"pads": int64(0, 0, 1, 1, 0, 0, 1, 1), "low": np.float32(-np.inf)}
    nodes = [node("Pad", ["x", "pads", "low"], "p"),
             node("MaxPool", ["p"], "y", kernel_shape=[3, 3], strides=[2, 2])]  # fmt: skip
    same_as_onnxruntime(model(nodes, [1, 2, 5, 5], constants), tmp_path)


@pytest.mark.parametrize(
    "rank, nodes, constants",
    [
        # x.view(x.size(0), -1)
        (2, [node("Shape", ["x"], "s"), node("Gather", ["s", "0"], "n"),
          node("Unsqueeze", ["n", "axes"], "n1"), node("Concat", ["n1", "-1"], "shape", axis=0),
          node("Reshape", ["x", "shape"], "y")],
         {"0": np.int64(0), "axes": int64(0), "-1": int64(-1)}),
        # x.expand(-1, -1, 3 * size)
        (3, [node("Shape", ["x"], "s"), node("ConstantOfShape", ["3d"], "ones"),
          node("Mul", ["s", "factors"], "big"), node("Equal", ["big", "s"], "same"),
          node("Where", ["same", "s", "big"], "shape"), node("Expand", ["x", "shape"], "y")],
         {"3d": int64(3), "factors": int64(1, 1, 3)}),
        # x[:, torch.arange(0, size, 2)]
        (3, [node("Shape", ["x"], "s"), node("Gather", ["s", "1"], "n"),
          node("Range", ["0", "n", "2"], "r"), node("Cast", ["r"], "i", to=7),
          node("Gather", ["x", "i"], "y", axis=1)],
         {"0": np.int64(0), "1": np.int64(1), "2": np.int64(2)}),
        # sizes and pads that are sliced, split and reversed from a list
        (2, [node("Shape", ["x"], "s"), node("Slice", ["s", "a", "b"], "part"),
          node("ReduceProd", ["part"], "p", keepdims=1), node("Concat", ["-1", "p"], "t", axis=0),
          node("Reshape", ["x", "t"], "y")],
         {"a": int64(1), "b": int64(3), "-1": int64(-1)}),
    ],
)  # fmt: skip
def test_what_exporters_compute_of_shapes_folds_away(tmp_path, rank, nodes, constants):
    made = model(nodes, [1, 4, 1], constants, opset=13, rank=rank)
    graph = same_as_onnxruntime(made, tmp_path)
    assert len(graph.nodes) == 1


def test_sizes_in_the_wrong_order_are_named(tmp_path):
    made = shaped([node("Split", ["v", "s"], "y", "n")], [4, 2], {"s": int64(3)}, rank=2)
    with pytest.raises(ModelError, match="Split"):
        import_model(saved(made, tmp_path))
