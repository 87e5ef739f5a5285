"""QuantizeLinear and DequantizeLinear as onnxruntime, masks and gradients as PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.ops.int8 import (
    alone,
    any_quantizations,
    compare,
    cut_off,
    integers,
    quantizations,
    ranges,
    reals,
)
from tests.ops.kernels import compiled, run, run_by_rows
from tests.ops.test_gradients import check, seeds, values
from tinyodl.graph import Graph, Node, Quantization, Tensor
from tinyodl.memory.arena import plan_arena
from tinyodl.ops import Call, Ref, Symbol, calls_of
from tinyodl.ops.shared.quantization import bounds, with_mask
from tinyodl.project.plan import UpdatePlan

shapes = st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 7), st.integers(1, 6))
SPECIAL = [np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0, 0.0, 8388609.0, -8388609.0]


def onnx_result(op: str, x: np.ndarray, of: Quantization) -> np.ndarray:
    constants = [
        helper.make_tensor("s", TensorProto.FLOAT, (), [of.scale[0]]),
        helper.make_tensor("z", TensorProto.INT8, (), [of.zero_point]),
    ]
    kinds = (TensorProto.FLOAT, TensorProto.INT8)
    into, out = kinds if op == "QuantizeLinear" else reversed(kinds)
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "s", "z"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", into, x.shape)],
        [helper.make_tensor_value_info("y", out, x.shape)],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@check
@given(seed=seeds, shape=shapes, of=st.one_of(quantizations, any_quantizations), limits=ranges)
def test_quantize(tmp_path, seed, shape, of, limits):
    attrs = cut_off(bounds(of, *limits))
    x = reals(seed, of, *shape)
    x.flat[: len(SPECIAL)] = SPECIAL[: x.size]
    node, graph = alone("QuantizeLinear", {"x": (shape, None)}, attrs, of)
    found = run(node, graph, {"x": x}, tmp_path)["y"]
    expected = np.clip(onnx_result("QuantizeLinear", x, of), attrs["low"], attrs["high"])
    np.testing.assert_array_equal(found, expected)
    rows = run_by_rows(node, graph, {"x": x}, tmp_path, np.random.default_rng(seed))
    np.testing.assert_array_equal(rows, found)


@check
@given(seed=seeds, shape=shapes, of=any_quantizations)
def test_dequantize(tmp_path, seed, shape, of):
    x = integers(seed, *shape)
    node, graph = alone("DequantizeLinear", {"x": (shape, of)}, {}, None)
    found = run(node, graph, {"x": x}, tmp_path)["y"]
    np.testing.assert_array_equal(found, onnx_result("DequantizeLinear", x, of))


@check
@given(seed=seeds, shape=shapes, of=quantizations, limits=ranges)
def test_gradient(tmp_path, seed, shape, of, limits):
    attrs = cut_off(bounds(of, *limits))
    inputs = {"x": (reals(seed, of, *shape), None)}
    compare(tmp_path, "QuantizeLinear", inputs, lambda x: x, of, attrs, limits)


@check
@given(seed=seeds, shape=shapes, of=quantizations)
def test_a_view_of_integers(tmp_path, seed, shape, of):
    flat = (1, math.prod(shape))
    inputs = {"x": (reals(seed, of, *shape), of)}
    compare(tmp_path, "Reshape", inputs, lambda x: x.reshape(flat), of, {"shape": flat})


def test_nan_becomes_the_lowest_value(tmp_path):
    of = Quantization((0.5,), 4)
    attrs = cut_off(bounds(of, -2.0, 2.0))
    node, graph = alone("QuantizeLinear", {"x": ((1, 1), None)}, attrs, of)
    x = np.full((1, 1), np.nan, np.float32)
    assert run(node, graph, {"x": x}, tmp_path)["y"] == attrs["low"] == 0


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 67])
def test_the_mask_says_where_the_gradient_passes(tmp_path, size):
    of = Quantization((0.5,), -20)
    attrs = cut_off(bounds(of, 0.0, 30.0))
    node, graph = alone("QuantizeLinear", {"x": ((1, size), None)}, attrs, of)
    node, tensors = with_mask(node, graph, UpdatePlan())
    x = values(3, 1, size, spread=40.0)
    x.flat[0] = 0.0
    made = run(node, graph.with_tensors(tensors), {"x": x}, tmp_path)
    mask = np.unpackbits(made[node.outputs[1]], bitorder="little")[:size]
    np.testing.assert_array_equal(mask.astype(bool), (x[0] > 0) & (x[0] < 30))


def test_bits_of_a_mask_may_be_written_in_any_order(tmp_path):
    mask = Tensor("mask", (9,), dtype="uint8")
    graph = Graph((), {"mask": mask}, (), ())
    call = Call("mask_put", (Ref("mask"), Symbol("first"), Symbol("end")))
    node = Node("MaskGradient", "op", (), ())
    put = compiled(call, node, graph, tmp_path)
    rng = np.random.default_rng(0)
    held = rng.integers(0, 256, 9).astype(np.uint8)
    bits = rng.integers(0, 2, 72)
    before = np.unpackbits(held, bitorder="little")
    for done, i in enumerate(order := rng.permutation(72), start=1):
        put({"mask": held}, int(i), int(bits[i]))
        before[order[:done]] = bits[order[:done]]
        np.testing.assert_array_equal(np.unpackbits(held, bitorder="little"), before)


def test_integers_may_take_the_place_of_what_is_quantised(tmp_path):
    of = Quantization((0.5,), 4)
    node, graph = alone("QuantizeLinear", {"x": ((1, 33), None)}, cut_off(bounds(of)), of)
    offsets = plan_arena(graph).offsets
    assert offsets["y"] == offsets["x"]
    x = values(3, 1, 33, spread=40.0)
    apart = run(node, graph, {"x": x}, tmp_path)["y"]
    (call,) = calls_of(node, graph)
    inside = x.view(np.int8)[:, :33]
    compiled(call, node, graph, tmp_path)({"x": x, "y": inside}, 0, 0)
    np.testing.assert_array_equal(inside, apart)
