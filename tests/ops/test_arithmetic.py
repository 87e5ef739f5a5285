"""Operators on two tensors with broadcasting: against PyTorch in float64, and as onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from tests.frontend.models import model, node, weights
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import compare, seeds, separated, values
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model

check = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
pairs = mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=5, max_side=4).map(
    lambda drawn: drawn.input_shapes
)

REFERENCES = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Max": torch.maximum,
    "Min": torch.minimum,
}


def operands(op, seed, a, b):
    """Values without ties, and divisors away from 0."""
    both = separated(seed, int(np.prod(a) + np.prod(b)))
    first, second = both[: int(np.prod(a))].reshape(a), both[int(np.prod(a)) :].reshape(b)
    return {"a": first, "b": np.exp(second) if op == "Div" else second}


def summed(inputs):
    """A bound for what a gradient adds up: the product of the largest terms and their number."""
    size = max(value.size for value in inputs.values())
    scale = max(float(np.abs(value).max()) for value in inputs.values())
    return lambda gy: gy.abs().max().item() * max(scale, 1.0) * min(size, 64)


@check
@pytest.mark.parametrize("op", REFERENCES)
@given(seed=seeds, shapes=pairs)
def test_two_computed_operands(tmp_path, op, seed, shapes):
    inputs = operands(op, seed, *shapes)
    reference = REFERENCES[op]
    compare(tmp_path, op, inputs, lambda a, b: reference(a, b), terms=summed(inputs))


@settings(check, max_examples=3)
@pytest.mark.parametrize("constant", ["a", "b"])
@pytest.mark.parametrize("op", REFERENCES)
@given(seed=seeds, shapes=pairs)
def test_a_constant_operand_lies_in_flash(tmp_path, op, constant, seed, shapes):
    inputs = operands(op, seed, *shapes)
    reference = REFERENCES[op]
    compare(
        tmp_path,
        op,
        inputs,
        lambda a, b: reference(a, b),
        constants=(constant,),
        terms=summed(inputs),
    )


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_operands_that_are_equal_share_the_gradient(tmp_path, op):
    x = values(1, 3, 4)
    reference = REFERENCES[op]
    compare(tmp_path, op, {"a": x, "b": x[:1]}, lambda a, b: reference(a, b))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 1), (2, 1, 1, 1)])
def test_constants_on_either_side_are_imported(tmp_path, op, shape):
    held = {"c": np.exp(weights(*shape))}
    for side, names in enumerate((["x", "c"], ["c", "x"])):
        nodes = [node("Exp", ["x"], "e"), node(op, [name.replace("x", "e") for name in names], "y")]
        same_as_onnxruntime(model(nodes, [1, 3, 5], held), tmp_path / str(side))


@pytest.mark.parametrize("op", ["Sum", "Max", "Min"])
def test_any_number_of_operands_is_imported(tmp_path, op):
    held = {"c": weights(3, 1), "d": weights(5)}
    nodes = [node("Neg", ["x"], "n"), node(op, ["c", "x", "n", "d"], "z"), node(op, ["z"], "y")]
    same_as_onnxruntime(model(nodes, [1, 3, 5], held), tmp_path)


def test_a_tensor_with_itself(tmp_path):
    nodes = [node("Mul", ["x", "x"], "s"), node("Add", ["s", "s"], "y")]
    same_as_onnxruntime(model(nodes, [1, 3, 5]), tmp_path)


def test_a_constant_for_each_channel_becomes_the_bias_of_the_layer_before(tmp_path):
    held = {"w": weights(4, 3, 3), "c": weights(4, 1)}
    nodes = [node("Conv", ["x", "w"], "a"), node("Add", ["c", "a"], "y")]
    graph = same_as_onnxruntime(model(nodes, [1, 3, 8], held), tmp_path)
    assert "Add" not in [n.op for n in graph.nodes]


def test_a_factor_for_each_channel_stays_a_product(tmp_path):
    held = {"w": weights(4, 3, 3), "c": weights(4, 1)}
    nodes = [node("Conv", ["x", "w"], "a"), node("Mul", ["a", "c"], "y")]
    graph = same_as_onnxruntime(model(nodes, [1, 3, 8], held), tmp_path)
    assert "Mul" in [n.op for n in graph.nodes]


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 1)])
def test_a_constant_that_cannot_be_folded_is_added_where_it_stands(tmp_path, shape):
    held = {"w": weights(3, 3, 1), "c": weights(*shape)}
    nodes = [node("Conv", ["x", "w"], "a"), node("Add", ["a", "c"], "y")]
    graph = same_as_onnxruntime(model(nodes, [1, 3, 8], held), tmp_path)
    assert [n.op for n in graph.nodes][-1] == "Add"


def test_axes_may_alternate_six_times(tmp_path):
    held = {"c": weights(2, 1, 2, 1, 2)}
    same_as_onnxruntime(model([node("Mul", ["x", "c"], "y")], [1, 2, 1, 2, 1, 2], held), tmp_path)
    held = {"c": weights(2, 1, 2, 1, 2, 1, 2)}
    path = tmp_path / "a.onnx"
    made = model([node("Mul", ["x", "c"], "y", "n")], [1, 2, 1, 2, 1, 2, 1], held)
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError, match="alternates more than 6 times"):
        import_model(path)
