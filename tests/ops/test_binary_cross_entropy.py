"""Binary cross-entropy in generated C, of labels and of an autoencoder, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper
from torch.nn import BCEWithLogitsLoss
from torch.nn.functional import linear, one_hot

from tests.frontend.models import model, node, saved, weights
from tests.hostnet import HostNet
from tinyodl.errors import UserError
from tinyodl.frontend import Changes, import_model, prepare
from tinyodl.learning.tensors import state_name
from tinyodl.learning.training import differentiate
from tinyodl.project.plan import UpdatePlan

LOSSES = ("binary-cross-entropy", "reconstruction-cross-entropy")


def dense(x, name, y):
    return helper.make_node("Gemm", [x, f"{name}.w", f"{name}.b"], [y], name=name, transB=1)


def autoencoder(folder, sizes, constants):
    """Dense layers with Tanh between them, Sigmoid behind the last, and a view."""
    nodes, x = [], "x"
    for index in range(len(sizes) - 1):
        last = index == len(sizes) - 2
        nodes.append(dense(x, f"d{index}", f"z{index}"))
        nodes.append(node("Sigmoid" if last else "Tanh", [f"z{index}"], f"y{index}"))
        x = f"y{index}"
    nodes.append(node("Flatten", [x], "y"))
    return saved(model(nodes, ["N", sizes[0]], constants), folder)


def compiled(path, loss, folder, **rule):
    prepared = prepare(path, Changes())
    layers = {each.name: "weights" for each in prepared.graph.nodes if each.op == "Gemm"}
    plan = UpdatePlan(layers=layers, loss=loss, **rule)
    return HostNet(prepared.under(plan), plan, folder)


def expected(loss, z, x, label):
    """PyTorch's, of logits z (1, N) against sample or label; of one logit the label is 0 or 1."""
    if loss != LOSSES[0]:
        target = x
    elif z.shape[1] == 1:
        target = torch.tensor([[label]])
    else:
        target = one_hot(torch.tensor([label]), z.shape[1])
    return BCEWithLogitsLoss()(z, target.to(z.dtype))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("size", "spread"), [(1, 1), (7, 3), (20, 30), (20, 300)])
def test_loss_and_gradient(tmp_path, loss, size, spread):
    """Also where the sigmoid is 0 or 1 to the last bit."""
    rng = np.random.default_rng(size)
    x = np.clip(rng.normal(0.5, 0.4, (1, size)), 0, 1).astype(np.float32)
    label = int(rng.integers(max(size, 2)))
    w = rng.normal(size=(size, size)).astype(np.float32)
    b = rng.normal(0, spread, size).astype(np.float32)
    path = autoencoder(tmp_path, (size, size), {"d0.w": w, "d0.b": b})
    net = compiled(path, loss, tmp_path / "net", batch=2)
    leaf = torch.tensor(b, dtype=torch.float64, requires_grad=True)
    z = linear(torch.tensor(x).double(), torch.tensor(w).double(), leaf)
    wanted = expected(loss, z, torch.tensor(x), label)
    wanted.backward()
    found = net.train(x, label if loss == LOSSES[0] else 0)
    assert found == pytest.approx(wanted.item(), rel=1e-5, abs=1e-6)
    gradient = net.parameter(state_name("d0.b", "sum"))
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-4, atol=2e-6 / size)


@pytest.mark.parametrize("loss", LOSSES)
def test_steps_of_sgd(tmp_path, loss):
    sizes, rng = (6, 3, 6), np.random.default_rng(3)
    constants = {f"d{i}.{part}": weights(*shape) for i, (n, k) in enumerate(((3, 6), (6, 3)))
                 for part, shape in (("w", (n, k)), ("b", (n,)))}  # fmt: skip
    net = compiled(
        autoencoder(tmp_path, sizes, constants), loss, tmp_path / "net", learning_rate=0.3
    )
    leaves = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
              for name, value in constants.items()}  # fmt: skip
    optimizer = torch.optim.SGD(leaves.values(), lr=0.3)
    for step in range(30):
        x, label = rng.uniform(size=(1, 6)).astype(np.float32), step % 6
        hidden = torch.tanh(linear(torch.tensor(x).double(), leaves["d0.w"], leaves["d0.b"]))
        wanted = expected(
            loss, linear(hidden, leaves["d1.w"], leaves["d1.b"]), torch.tensor(x), label
        )
        optimizer.zero_grad()
        wanted.backward()
        optimizer.step()
        found = net.train(x, label if loss == LOSSES[0] else -1)
        assert found == pytest.approx(wanted.item(), rel=1e-5)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(
            net.parameter(name), leaf.detach().numpy(), rtol=1e-4, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("op", ["Softmax", "Tanh"])
def test_a_sigmoid_has_to_be_there(tmp_path, loss, op):
    constants = {"d.w": weights(4, 4), "d.b": weights(4)}
    made = model([dense("x", "d", "z"), node(op, ["z"], "y", name="end")], ["N", 4], constants)
    graph = import_model(saved(made, tmp_path))
    with pytest.raises(UserError, match=rf"ends in a float32 Sigmoid, .* from 'end' \({op}\)"):
        differentiate(graph, UpdatePlan(layers={"d": "bias"}, loss=loss))
