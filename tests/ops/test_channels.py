"""float32 layers of which some output channels learn: PyTorch's values, the bits of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.hostnet import HostNet
from tests.models import ROOT, WATCH
from tests.onnx_torch import TorchModel
from tests.test_training import samples, watch_samples
from tinyodl.errors import UserError
from tinyodl.frontend import import_model
from tinyodl.ops import layers_of
from tinyodl.project.layer_update import ChannelUpdate
from tinyodl.project.plan import UpdatePlan

DSCNN = ROOT / "tests" / "models" / "mlperftiny_dscnn_kws_f32.onnx"
RATE = 0.01


def some_channels(graph) -> dict[str, tuple[int, ...]]:
    """About a third of each layer's output channels, of some layers neighbours."""
    random = np.random.default_rng(5)
    return {
        node.name: tuple(sorted(random.permutation(count)[: -(-count // 3)].tolist()))
        for node in layers_of(graph)
        for count in [graph.shape(node.outputs[0])[1]]
    }


def plan_of(chosen, **rule) -> UpdatePlan:
    layers = {name: ChannelUpdate(outputs=channels) for name, channels in chosen.items()}
    return UpdatePlan(layers=layers, learning_rate=RATE, **rule)


@pytest.mark.parametrize(
    ("path", "optimizer"), [(WATCH, "adam"), (DSCNN, "sgd")], ids=["watch", "dscnn"]
)
def test_they_learn_as_pytorch_does_and_start_with_the_bits_of_the_whole(tmp_path, path, optimizer):
    graph = import_model(path)
    chosen = some_channels(graph)
    shape = graph.shape(graph.inputs[0])
    stream = watch_samples(3) if path == WATCH else list(samples(shape, 12, 3))
    net = HostNet(graph, plan_of(chosen, optimizer=optimizer, bound="off"), tmp_path / "part")
    everything = dict.fromkeys(chosen, "weights")
    rule = {"optimizer": optimizer, "learning_rate": RATE, "bound": "off"}
    whole = HostNet(graph, UpdatePlan(layers=everything, **rule), tmp_path / "whole")

    x, label = stream[0]
    np.testing.assert_array_equal(net.forward(x), whole.forward(x))
    assert net.train(x, label) == whole.train(x, label)
    rows = {graph.tensor(n.inputs[1]).name: list(chosen[n.name]) for n in layers_of(graph)}
    for name, learning in rows.items():
        np.testing.assert_array_equal(net.parameter(name), whole.parameter(name)[learning])

    net.reset()
    reference = TorchModel(path)
    origins = {name: graph.tensor(name).origin for name in rows}
    leaves = {name: reference.leaves[o.node, o.slot] for name, o in origins.items()}
    biases = [leaf for key, leaf in reference.leaves.items() if key[1] == 2]
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    stepper = make([*leaves.values(), *biases], RATE)
    for x, label in stream:
        found = net.train(x, label)
        expected = torch.nn.functional.cross_entropy(
            reference.logits(x).reshape(1, -1), torch.tensor([label])
        )
        assert found == pytest.approx(expected.item(), rel=1e-3, abs=1e-5)
        expected.backward()
        for name, leaf in leaves.items():
            frozen = torch.ones(graph.shape(name)[0], dtype=torch.bool)
            frozen[rows[name]] = False
            gradient = leaf.grad.T if origins[name].transform == "transpose" else leaf.grad
            gradient[frozen] = 0
        stepper.step()
        stepper.zero_grad()
    for name, leaf in leaves.items():
        learned = leaf.detach().numpy()
        learned = learned.T if origins[name].transform == "transpose" else learned
        start = graph.tensor(name).data[rows[name]]
        moved = np.abs(learned[rows[name]] - start).max()
        difference = np.abs(net.parameter(name) - learned[rows[name]]).max()
        assert moved > 0 and difference <= 1e-4 * max(1, np.abs(learned).max())


def test_input_channels_and_channels_that_are_not_there_are_refused(tmp_path):
    graph = import_model(WATCH)
    for update, told in (
        (ChannelUpdate(inputs=(0, 1)), "name outputs there"),
        (ChannelUpdate(outputs=(3, 24)), "which has 24: 0 to 23"),
    ):
        with pytest.raises(UserError, match=told):
            HostNet(graph, UpdatePlan(layers={"/3/Conv": update}), tmp_path)
