"""Comparisons, Where and its gradient, truth values, and Resize: as PyTorch and onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.frontend.models import model, node, saved, weights
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_arithmetic import check
from tests.ops.test_gradients import compare, seeds, values
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model


@check
@given(seed=seeds, size=st.integers(1, 12))
def test_select(tmp_path, seed, size):
    truth = (np.random.default_rng(seed).random((1, size)) < 0.5).astype(np.float32)
    inputs = {"c": truth, "x": values(seed + 1, 1, size), "z": values(seed + 2, 1, size)}
    compare(tmp_path, "Select", inputs, lambda c, x, z: torch.where(c != 0, x, z), constants=("c",))


@pytest.mark.parametrize("op", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"])
def test_comparisons_choose(tmp_path, op):
    """Both operands are computed, in shapes that broadcast; some are equal."""
    nodes = [
        node("Transpose", ["x"], "t", perm=[0, 1, 2]),
        node("ReduceMean", ["t"], "limits", axes=[2], keepdims=1),
        node(op, ["x", "limits"], "c"),
        node("Neg", ["x"], "n"),
        node("Where", ["c", "x", "n"], "y"),
    ]
    made = model(nodes, [1, 3, 4], opset=17)
    x = np.float32([[[0, 1, -1, 0], [-1, 0, -2, -1], [1, 1, 0, 2]]])
    graph = same_as_onnxruntime(made, tmp_path, x=(x,))
    assert [n.op for n in graph.nodes][-1] == "Select"


def test_truth_values(tmp_path):
    nodes = [
        node("Greater", ["x", "zero"], "above"),
        node("Less", ["x", "one"], "below"),
        node("And", ["above", "below"], "between"),
        node("Not", ["between"], "outside"),
        node("Or", ["outside", "above"], "any"),
        node("Cast", ["any"], "mask", to=TensorProto.FLOAT),
        node("Cast", ["x"], "nonzero", to=TensorProto.BOOL),
        node("Cast", ["nonzero"], "there", to=TensorProto.FLOAT),
        node("Sign", ["x"], "sign"),
        node("Sum", ["mask", "there", "sign"], "y"),
    ]
    held = {"zero": np.float32(0), "one": np.float32(1)}
    x = np.float32([[-2, -0.0, 0.5, 1, 3, 0]])
    same_as_onnxruntime(model(nodes, [1, 6], held, opset=17), tmp_path, x=(x,))


@pytest.mark.parametrize(
    "condition, ops",
    [([[True, True, True]], ["Neg"]), ([[False, False, False]], ["Expand"]),
     ([[True, False, True]], ["Neg", "Expand", "Select"])],
)  # fmt: skip
def test_a_constant_condition(tmp_path, condition, ops):
    """Of the same value everywhere, as shapes make it, it leaves one operand."""
    nodes = [
        node("Neg", ["x"], "n"),
        node("ReduceSum", ["x", "axes"], "s", keepdims=1),
        node("Where", ["c", "n", "s"], "w"),
        node("Add", ["w", "x"], "y"),
    ]
    held = {"c": np.array(condition), "axes": np.array([1])}
    graph = same_as_onnxruntime(model(nodes, [1, 3], held), tmp_path)
    assert [n.op for n in graph.nodes if n.op in ("Neg", "Expand", "Select")] == ops


@pytest.mark.parametrize("name", ["Softplus", "Threshold", "Softshrink", "Hardshrink"])
@pytest.mark.filterwarnings("ignore")
def test_functions_that_pytorch_exports_as_choices(tmp_path, name):
    """The loss of two steps is PyTorch's: the first has shown its gradient."""
    from tests.hostnet import HostNet
    from tinyodl.project.plan import UpdatePlan

    given = {"Softplus": (2, 1.5), "Threshold": (0.1, 0.5)}.get(name, ())
    torch.manual_seed(1)
    network = torch.nn.Sequential(
        torch.nn.Linear(5, 6), getattr(torch.nn, name)(*given), torch.nn.Linear(6, 3)
    ).eval()
    x = torch.randn(1, 5) * 2
    path = tmp_path / "model.onnx"
    torch.onnx.export(network, (x,), str(path), dynamo=True, verbose=False, external_data=False)
    graph = import_model(path)
    layers = {n.name: "weights" for n in graph.nodes if n.op == "Gemm"}
    plan = UpdatePlan(layers=layers, learning_rate=0.1, bound="off", outliers="keep")
    net = HostNet(graph, plan, tmp_path / "net")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x), torch.tensor([1]))
        loss.backward()
        optimizer.step()
        assert net.train(x.numpy(), 1) == pytest.approx(loss.item(), rel=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    "op, opset, scale",
    [
        *(("Resize", 10, scale) for scale in (2.0, 3.0, 1.75, 0.4)),
        *(("Upsample", 9, scale) for scale in (2.0, 3.0, 1.75)),  # it makes nothing smaller
    ],
)
def test_old_resizing_is_what_onnxruntime_makes_of_it(tmp_path, op, opset, mode, scale):
    """Where onnx.version_converter 1.23 makes other numbers, in silence."""
    held = {"scales": np.float32([1, 1, scale, scale])}
    nodes = [node(op, ["x", "scales"], "y", mode=mode)]
    same_as_onnxruntime(model(nodes, [1, 2, 5, 4], held, opset=opset, rank=4), tmp_path)


@pytest.mark.parametrize(
    "given, attrs",
    [({"sizes": [1, 2, 7, 3]}, {"mode": "linear"}),
     ({"scales": [1, 1, 2, 2]}, {"mode": "cubic"}),
     ({"scales": [1, 1, 2, 0.5]}, {"mode": "linear"}),
     ({"scales": [1, 1, 3, 1]}, {"nearest_mode": "ceil"})],
)  # fmt: skip
def test_resize(tmp_path, given, attrs):
    [(name, value)] = given.items()
    kind = np.int64 if name == "sizes" else np.float32
    inputs = ["x", "", name] if name == "scales" else ["x", "", "", name]
    nodes = [helper.make_node("Resize", inputs, ["y"], **attrs)]
    made = model(nodes, [1, 2, 5, 4], {name: np.array(value, kind)}, rank=4)
    assert not any(n.op == "MatMul" for n in same_as_onnxruntime(made, tmp_path).nodes)


def test_a_resize_on_which_onnxruntime_and_onnx_differ_is_refused(tmp_path):
    nodes = [
        helper.make_node(
            "Resize", ["x", "", "k"], ["y"], "r", mode="linear",
            coordinate_transformation_mode="align_corners",
        )
    ]  # fmt: skip
    made = model(nodes, [1, 2, 5, 4], {"k": np.float32([1, 1, 1.75, 1])}, rank=4)
    with pytest.raises(ModelError, match="'r': onnxruntime and ONNX's reference make different"):
        import_model(saved(made, tmp_path))


def test_space_to_depth_in_the_order_of_opset_28(tmp_path):
    nodes = [node("SpaceToDepth", ["x"], "y", blocksize=2, mode="CRD")]
    same_as_onnxruntime(model(nodes, [1, 3, 4, 4], opset=28, rank=4), tmp_path)


@pytest.mark.parametrize(
    "op, attrs",
    [("Clip", {"min": -0.5, "max": 0.5}), ("Clip", {"max": 0.5}),
     ("Pad", {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 0.5}), ("Pad", {"pads": [0] * 6 + [1, 1],
      "mode": "reflect"}),
     ("Slice", {"starts": [1, -2], "ends": [3, 100], "axes": [2, 3]}),
     ("Slice", {"starts": [0, 1], "ends": [1, 2]})],
)  # fmt: skip
@pytest.mark.parametrize("opset", [7, 9])
def test_attributes_that_later_became_inputs(tmp_path, op, attrs, opset):
    made = model([node(op, ["x"], "y", **attrs)], [1, 2, 5, 4], opset=opset, rank=4)
    same_as_onnxruntime(made, tmp_path)


def test_batch_normalisation_of_each_element_is_refused(tmp_path):
    held = {name: np.abs(weights(3)) + 1 for name in ("s", "b", "m", "v")}
    nodes = [node("BatchNormalization", ["x", "s", "b", "m", "v"], "y", "bn", spatial=0)]
    made = model(nodes, [1, 3], held, opset=7, rank=2)
    with pytest.raises(ModelError, match="'bn': spatial is 0"):
        import_model(saved(made, tmp_path))
