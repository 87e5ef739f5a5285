"""PRelu: slopes of any shape that fits, which learn; against PyTorch in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from tests.frontend.models import model, node, weights
from tests.frontend.test_export import Project
from tests.hostnet import HostNet
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import compare, seeds, separated, values
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model
from tinyodl.ops import layers_of
from tinyodl.project.plan import UpdatePlan

check = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def reference(x, slope):
    return torch.where(x > 0, x, slope * x)


@st.composite
def shapes(draw):
    """Of x, and of a slope that can be broadcast to it."""
    x = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    kept = draw(st.integers(0, len(x)))
    sizes = [draw(st.sampled_from([1, size])) for size in x[len(x) - kept :]]
    return x, tuple(sizes) or (1,)


@check
@given(seed=seeds, shapes=shapes(), learns=st.booleans())
def test_prelu(tmp_path, seed, shapes, learns):
    inputs = {"x": separated(seed, *shapes[0]), "slope": values(seed, *shapes[1])}
    size = inputs["x"].size
    compare(
        tmp_path,
        "PRelu",
        inputs,
        reference,
        weights=("slope",) if learns else (),
        terms=lambda gy: gy.abs().max().item() * size,
    )


@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1), (4, 3, 2), (2,)])
def test_imported(tmp_path, shape):
    made = model([node("PRelu", ["x", "s"], "y")], [1, 4, 3, 2], {"s": weights(*shape)})
    graph = same_as_onnxruntime(made, tmp_path)
    assert [layer.op for layer in layers_of(graph)] == ["PRelu"]


def test_a_computed_slope_is_no_layer(tmp_path):
    nodes = [node("Neg", ["x"], "s"), node("PRelu", ["x", "s"], "y")]
    assert not layers_of(same_as_onnxruntime(model(nodes, [1, 4]), tmp_path))


def test_a_slope_larger_than_the_input_is_refused(tmp_path):
    path = tmp_path / "a.onnx"
    held = {"s": np.ones((3, 4), np.float32)}
    made = model([node("PRelu", ["x", "s"], "y", "n")], [1, 4], held, rank=2)
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError, match="PRelu 'n': its slope has the shape"):
        import_model(path)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_the_slope_learns(tmp_path, optimizer):
    """One step at batch 1, where the layer before reads the slope that the step changes."""
    slope = np.float32([[0.25], [0.5]])
    held = {"w": np.float32([[[1.0]], [[-1.0]]]), "s": slope}
    nodes = [node("Conv", ["x", "w"], "c", "conv"), node("PRelu", ["c", "s"], "y", "act")]
    path = tmp_path / "a.onnx"
    path.write_bytes(model(nodes, [1, 1, 3], held).SerializeToString())
    plan = UpdatePlan(
        layers={"conv": "weights", "act": "weights"},
        loss="mse",
        optimizer=optimizer,
        learning_rate=0.1,
    )
    net = HostNet(import_model(path), plan, tmp_path / "net")
    x = np.float32([[[0.5, -1.0, 2.0]]])
    target = values(1, 1, 2, 3)

    def leaf(value):
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    w, s = leaf(held["w"]), leaf(slope)
    step = {
        "sgd": lambda: torch.optim.SGD([w, s], lr=0.1),
        "momentum": lambda: torch.optim.SGD([w, s], lr=0.1, momentum=plan.momentum),
        "adam": lambda: torch.optim.Adam([w, s], lr=0.1, eps=plan.epsilon),
    }[optimizer]()
    for _ in range(3):
        net.train(x, target=target)
        step.zero_grad()
        y = reference(torch.conv1d(torch.tensor(x, dtype=torch.float64), w), s)
        torch.nn.functional.mse_loss(y, torch.tensor(target, dtype=torch.float64)).backward()
        step.step()
    np.testing.assert_allclose(net.parameter("s"), s.detach(), rtol=1e-5)
    np.testing.assert_allclose(net.parameter("w").reshape(2), w.detach().reshape(2), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 1), (1, 4, 1), (3,)])
def test_a_slope_that_learned_is_written_back(tmp_path, shape):
    made = model([node("PRelu", ["x", "s"], "y")], [1, 4, 3], {"s": weights(*shape)})
    project = Project(tmp_path, made)
    (learned,) = project.learn("s").values()
    (slope,) = project.export({"s": learned}).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(slope), learned)
