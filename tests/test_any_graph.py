"""Graphs with several inputs, and with weights that several layers share, against PyTorch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from tests.hostnet import HostNet
from tests.memory.test_arena import assert_sound
from tinyodl.compiler import compilation
from tinyodl.errors import DataError
from tinyodl.frontend import import_model
from tinyodl.learning.training import differentiate
from tinyodl.project.plan import UpdatePlan
from tinyodl.samples import data
from tinyodl.targets.boards import load_board

RNG = np.random.default_rng(3)


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def saved(folder, nodes, inputs, outputs, held):
    """An ONNX file; `inputs` and `outputs` are shapes by name."""
    graph = helper.make_graph(
        [helper.make_node(op, given, [made], name=name, **attrs)
         for op, given, made, name, attrs in nodes],
        "test",
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )  # fmt: skip
    path = folder / "model.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture
def two_inputs(tmp_path):
    """Two dense layers on an input each, whose sum is the output `y`; `z` is another output."""
    nodes = [
        ("Gemm", ["b", "v", "c"], "q", "second", {}),
        ("Gemm", ["a", "w"], "p", "first", {}),
        ("Add", ["p", "q"], "y", "sum", {}),
        ("Relu", ["y"], "z", "relu", {}),
    ]
    held = {"w": drawn(3, 4), "v": drawn(5, 4), "c": drawn(4)}
    shapes = {"a": ["N", 3], "b": ["N", 5]}
    return saved(tmp_path, nodes, shapes, {"y": [1, 4], "z": [1, 4]}, held), held


def test_several_inputs_are_one_sample(tmp_path, two_inputs):
    path, held = two_inputs
    graph = import_model(path, "y")
    plan = UpdatePlan(layers={"first": "weights", "second": "weights"}, learning_rate=0.1)
    assert_sound(differentiate(graph, plan))
    net = HostNet(graph, plan, tmp_path / "net")
    leaves = {n: torch.tensor(v, requires_grad=True) for n, v in held.items()}
    stepper = torch.optim.SGD(leaves.values(), 0.1)
    for label in (0, 3, 1, 1):
        a, b = drawn(1, 3), drawn(1, 5)
        y = torch.tensor(a) @ leaves["w"] + torch.tensor(b) @ leaves["v"] + leaves["c"]
        np.testing.assert_allclose(net.forward((a, b)), y.detach(), rtol=1e-5, atol=1e-6)
        loss = torch.nn.functional.cross_entropy(y, torch.tensor([label]))
        assert net.train((a, b), label) == pytest.approx(loss.item(), rel=1e-5)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
    for name, leaf in leaves.items():
        expected = leaf.detach().numpy()
        found = net.parameter(name)
        expected = expected.T if expected.ndim == 2 else expected
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_manifest_and_data_know_several_inputs(tmp_path, two_inputs):
    path, _ = two_inputs
    manifest = compilation(path, load_board("host"), {"output": "z"}).manifest
    assert manifest.model.inputs == {"a": (1, 3), "b": (1, 5)}
    assert manifest.model.input_shape == (1, 8) and manifest.model.output_name == "z"
    a, b, y = drawn(6, 3), drawn(6, 5), np.arange(6) % 4
    np.savez(tmp_path / "named.npz", a=a, b=b, y=y)
    np.savez(tmp_path / "row.npz", x=np.concatenate([a, b], axis=1), y=y)
    named, row = (data.load(tmp_path / f"{n}.npz", manifest) for n in ("named", "row"))
    assert np.array_equal(named.x, row.x) and named.x.shape == (6, 8)
    np.savez(tmp_path / "short.npz", a=a, b=b[:5], y=y)
    with pytest.raises(DataError, match=r"different numbers of samples \(a 6, b 5\)"):
        data.load(tmp_path / "short.npz", manifest)
    np.savez(tmp_path / "wrong.npz", a=b, b=b, y=y)
    with pytest.raises(DataError, match=r"a has shape \(6, 5\), the model needs \(N, 3\)"):
        data.load(tmp_path / "wrong.npz", manifest)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("learns", [["one", "two"], ["two"]])
def test_a_shared_weight_learns_from_all_of_its_uses(tmp_path, optimizer, learns):
    """Also when only one of its layers is named: they are one tensor."""
    nodes = [
        ("MatMul", ["x", "w"], "p", "one", {}),
        ("Add", ["p", "b"], "q", "add_one", {}),
        ("Relu", ["q"], "r", "relu", {}),
        ("MatMul", ["r", "w"], "s", "two", {}),
        ("Add", ["s", "b"], "y", "add_two", {}),
    ]
    held = {"w": drawn(5, 5), "b": drawn(5)}
    path = saved(tmp_path, nodes, {"x": [1, 5]}, {"y": [1, 5]}, held)
    graph = import_model(path)
    plan = UpdatePlan(
        layers=dict.fromkeys(learns, "weights"), optimizer=optimizer, learning_rate=0.01
    )
    net = HostNet(graph, plan, tmp_path / "net")
    w, b = (torch.tensor(v, requires_grad=True) for v in held.values())
    stepper = {
        "sgd": lambda: torch.optim.SGD([w, b], 0.01),
        "momentum": lambda: torch.optim.SGD([w, b], 0.01, momentum=0.9),
        "adam": lambda: torch.optim.Adam([w, b], 0.01),
    }[optimizer]()
    for label in (0, 4, 2, 2, 1):
        x = drawn(1, 5)
        y = (torch.tensor(x) @ w + b).relu() @ w + b
        loss = torch.nn.functional.cross_entropy(y, torch.tensor([label]))
        assert net.train(x, label) == pytest.approx(loss.item(), rel=1e-4)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
    bias = next(n.inputs[2] for n in graph.nodes if n.name == "one")
    np.testing.assert_allclose(net.parameter("w"), w.detach().numpy().T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net.parameter(bias), b.detach(), rtol=1e-4, atol=1e-5)
