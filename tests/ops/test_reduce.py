"""Reductions over any axes: against PyTorch in float64, and imported as onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.frontend.models import model, node
from tests.hostnet import HostNet
from tests.ops.graphs import PLAN, around
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import compare, seeds, separated
from tinyodl.learning.tensors import state_name

few = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

REFERENCES = {
    "ReduceSum": lambda x, axes, keepdims: x.sum(axes, keepdims),
    "ReduceMean": lambda x, axes, keepdims: x.mean(axes, keepdims),
    "ReduceMax": lambda x, axes, keepdims: x.amax(axes, keepdims),
    "ReduceMin": lambda x, axes, keepdims: x.amin(axes, keepdims),
    "ReduceL1": lambda x, axes, keepdims: x.abs().sum(axes, keepdims),
    "ReduceL2": lambda x, axes, keepdims: x.square().sum(axes, keepdims).sqrt(),
    "ReduceSumSquare": lambda x, axes, keepdims: x.square().sum(axes, keepdims),
}


@few
@pytest.mark.parametrize("op", REFERENCES)
@given(seed=seeds, shape=st.lists(st.integers(1, 4), min_size=1, max_size=6),
       keepdims=st.booleans(), data=st.data())  # fmt: skip
def test_reduction(tmp_path, op, seed, shape, keepdims, data):
    axes = st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True)
    axes = tuple(sorted(data.draw(axes)))
    x = separated(seed, *shape)
    if op in ("ReduceSum", "ReduceMean"):
        x = np.abs(x)  # the tolerance knows nothing of terms that cancel
    compare(
        tmp_path,
        op,
        {"x": x},
        lambda x: REFERENCES[op](x, axes, keepdims),
        {"axes": axes, "keepdims": keepdims},
    )


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1"])
def test_ties_and_zeros_get_the_gradient_of_pytorch(tmp_path, op):
    """Equal extrema share the gradient evenly (amax); it is 0 where the norm is (norm)."""
    x = np.array([[2, 2, 1, 1], [0, 0, 0, 0]], np.float32)
    graph, plan = around(op, {"x": x}, {"axes": (1,), "keepdims": False}, (), PLAN)
    net = HostNet(graph, plan, tmp_path)
    net.train(np.ones((1, 1), np.float32), target=np.ones((2,), np.float32))
    leaf = torch.tensor(x, requires_grad=True)
    reference = {
        "ReduceMax": lambda: leaf.amax(1),
        "ReduceMin": lambda: leaf.amin(1),
        "ReduceL1": lambda: leaf.norm(1, 1),
        "ReduceL2": lambda: leaf.norm(2, 1),
    }
    (reference[op]() - 1).square().mean().backward()
    found = net.parameter(state_name("x.b", "sum"))
    np.testing.assert_allclose(found, leaf.grad.flatten(), rtol=1e-6)


# Importers against onnxruntime.


def reduced(op, opset, axes, keepdims=1, **attrs):
    """A reduction of (2, 3, 4) with its axes where this opset has them."""
    held = {"shape": np.array([2, 3, 4], np.int64)}
    operands = ["v"]
    if axes is not None and opset >= (13 if op == "ReduceSum" else 18):
        held["axes"] = np.array(axes, np.int64)
        operands.append("axes")
    elif axes is not None:
        attrs["axes"] = axes
    nodes = [node("Reshape", ["x", "shape"], "v"),
             node(op, operands, "y", "n", keepdims=keepdims, **attrs)]  # fmt: skip
    return model(nodes, [1, 24], held, opset)


@pytest.mark.parametrize("op", REFERENCES)
@pytest.mark.parametrize(
    "opset, axes, keepdims", [(11, [1], 0), (13, [-1, 0], 1), (18, [2, 1], 0), (18, None, 1)]
)
def test_reduction_is_imported(tmp_path, op, opset, axes, keepdims):
    same_as_onnxruntime(reduced(op, opset, axes, keepdims), tmp_path)


@pytest.mark.parametrize("op, axes", [("ReduceMax", None), ("ReduceL1", []), ("ReduceL2", None),
                                      ("ReduceSumSquare", [])])  # fmt: skip
def test_without_axes_and_with_noop_only_the_elementwise_part_remains(tmp_path, op, axes):
    same_as_onnxruntime(reduced(op, 18, axes, noop_with_empty_axes=1), tmp_path)


def test_a_reduction_of_axes_of_size_1_is_a_view(tmp_path):
    made = model([node("ReduceMax", ["x"], "y", axes=[0, 2], keepdims=0)], [1, 3, 1, 4])
    assert [n.op for n in same_as_onnxruntime(made, tmp_path).nodes] == ["Reshape"]


@pytest.mark.parametrize("shape", [[1, 3, 7], [1, 3, 4, 5], [1, 2, 2, 3, 2]])
def test_global_average_pool_is_a_mean(tmp_path, shape):
    made = model([node("GlobalAveragePool", ["x"], "y", "n")], shape)
    assert [n.op for n in same_as_onnxruntime(made, tmp_path).nodes] == ["ReduceMean"]
