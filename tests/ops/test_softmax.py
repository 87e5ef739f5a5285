"""Softmax and LogSoftmax along any axis: against PyTorch in float64, and as onnxruntime."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.frontend.models import model, node
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import compare, seeds, values
from tinyodl.learning.training import differentiate
from tinyodl.project.plan import UpdatePlan

check = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
REFERENCES = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax}
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


@check
@pytest.mark.parametrize("op", REFERENCES)
@given(seed=seeds, shape=shapes, spread=st.sampled_from([1.0, 10.0]), data=st.data())
def test_any_axis(tmp_path, op, seed, shape, spread, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    inputs = {"x": values(seed, *shape, spread=spread)}
    compare(
        tmp_path,
        op,
        inputs,
        lambda x: REFERENCES[op](x, axis),
        {"axis": axis},
        terms=lambda gy: gy.abs().max().item() * shape[axis],
    )


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1, -2])
@pytest.mark.parametrize("op", REFERENCES)
def test_imported(tmp_path, op, axis, opset):
    attrs = {} if axis is None else {"axis": axis}
    made = model([node(op, ["x"], "y", **attrs)], [1, 3, 4, 2], opset=opset)
    same_as_onnxruntime(made, tmp_path)


@pytest.mark.parametrize("shape", [[1, 5], [1, 5, 1], [1, 1, 5]])
def test_one_row_is_seen_as_the_last_axis(tmp_path, shape):
    """So that softmax and cross-entropy at the end of a network are recognised as one."""
    made = model([node("Softmax", ["x"], "y", axis=shape.index(5))], shape)
    graph = same_as_onnxruntime(made, tmp_path)
    (softmax,) = [n for n in graph.nodes if n.op == "Softmax"]
    assert graph.shape(softmax.outputs[0])[-1] == 5


def test_cross_entropy_skips_a_softmax_of_one_row_only(tmp_path):
    """Along an axis of size 1 everything becomes 1, and nothing can be learned."""
    made = model([node("Softmax", ["x"], "y", axis=-2)], [1, 1, 5])
    graph = same_as_onnxruntime(made, tmp_path)
    loss = next(n for n in differentiate(graph, UpdatePlan()).nodes if n.op == "CrossEntropy")
    assert loss.inputs == ("y",)
